import pytest
import torch

from sma.modules.functional import activation_function


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("gelu", lambda x: x * (1 + torch.erf(x / 2**0.5)) / 2),
        ("gelu_tanh", lambda x: x * (1 + torch.tanh((2 / torch.pi) ** 0.5 * (x + 0.044715 * x**3))) / 2),
        ("identity", lambda x: x),
        ("relu", lambda x: x.clamp(min=0)),
        ("relu2", lambda x: x.clamp(min=0) ** 2),
        ("sigmoid", lambda x: 1 / (1 + torch.exp(-x))),
        ("silu", lambda x: x / (1 + torch.exp(-x))),
        ("tanh", lambda x: (torch.exp(2 * x) - 1) / (torch.exp(2 * x) + 1)),
    ],
)
def test_functions(name, expected):
    x = torch.linspace(-3, 3, 25, dtype=torch.float64)
    torch.testing.assert_close(activation_function(name)(x), expected(x))


def test_an_unknown_name_lists_the_known_ones():
    with pytest.raises(ValueError, match=r"'rleu'.*did you mean relu or "):
        activation_function("rleu")
