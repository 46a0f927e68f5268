import torch
from transformers import AutoModel

from sma.transformers import SMAModel


def test_features_are_what_the_head_scores(causal, plain, tokens, tmp_path):
    causal.save_pretrained(tmp_path)
    model = AutoModel.from_pretrained(tmp_path)
    assert type(model) is SMAModel
    mask = torch.ones_like(tokens)
    mask[0, :3] = 0
    output = model(tokens, mask, output_hidden_states=True)
    torch.testing.assert_close(output.last_hidden_state, plain.encode(tokens, mask.bool()))
    torch.testing.assert_close(output.hidden_states[-1], output.last_hidden_state)
    torch.testing.assert_close(plain.head(output.last_hidden_state), plain(tokens, mask.bool()))
    assert torch.equal(model(tokens, mask, return_dict=False)[0], output.last_hidden_state)
