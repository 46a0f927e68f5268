"""A model that loses its precision in bfloat16 is found."""

from broken_models import LosesPrecision, Plain
from torch import nn

from sma.testing import check_model

NAMES = ["bfloat16 drift"]


def test_a_model_that_loses_its_precision():
    finding = check_model(LosesPrecision(), properties=NAMES)[NAMES[0]]
    assert (finding.verdict, finding.n_trials) == ("violated", 1)
    assert check_model(Plain(), properties=NAMES)[NAMES[0]].difference < 0.02


def test_a_model_that_does_not_run_in_it_is_not_tried():
    class Fourier(nn.Linear):
        def forward(self, x):
            return super().forward(x.to(self.weight.dtype).detach().numpy().size * x)

    finding = check_model(Fourier(4, 4), properties=NAMES)[NAMES[0]]
    assert finding.verdict == "not tried"
    assert "BFloat16" in finding.reason
