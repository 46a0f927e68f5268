"""Decode step by step: a prompt once, then one token at a time at constant cost."""

import torch

from sma.architectures import seqboat

torch.manual_seed(0)
model = seqboat(vocab_size=256, d_model=64, n_layers=2, window=16).build().eval()
prompt = torch.tensor([list(b"def decode(")])

with torch.no_grad():
    logits, state = model.prefill(prompt)
    token = logits[:, -1].argmax(-1)
    tokens = [token]
    for _ in range(20):
        token = model.step(token, state).argmax(-1)
        tokens.append(token)

    # The same tokens, by running the model over the whole sequence each time.
    whole = prompt
    for expected in tokens:
        token = model(whole)[:, -1].argmax(-1)
        assert token == expected
        whole = torch.cat((whole, token[:, None]), 1)
print(bytes(whole[0].tolist()))
