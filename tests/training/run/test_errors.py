import pytest
from pydantic import ValidationError

from sma.architectures import SequenceModelSpec, seqboat
from sma.spec.errors import one_line


def test_a_wrong_item_is_not_also_called_a_missing_one():
    values = seqboat(vocab_size=8, d_model=8, n_layers=1).model_dump()
    values["blocks"][0]["branches"][1]["modules"][0]["window"] = 0
    with pytest.raises(ValidationError) as caught:
        SequenceModelSpec.model_validate(values)
    assert one_line(caught.value).startswith("blocks.0.branches.1.modules.0.window=0: ")
    assert "at least 1 item" not in one_line(caught.value)
