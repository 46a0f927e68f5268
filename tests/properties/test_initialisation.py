"""Every parameter of a published model begins where the published code begins it."""

import math
import re

import pytest
import torch
from scipy import stats

from sma.architectures import seqboat, seqboat_lra_image, seqboat_lra_listops, seqboat_speech_commands


def cut_normal(std):
    """A normal distribution cut at two deviations."""
    return stats.truncnorm(-2, 2, scale=std)


def glorot(parameter):
    d_out, d_in = parameter.shape
    bound = math.sqrt(6 / (d_in + d_out))
    return stats.uniform(-bound, 2 * bound)


def without_sign(beta):
    """Moving averages' beta alternates around +1 and -1."""
    sign = torch.tensor([1.0, -1.0]).repeat(beta.shape[-1])[: beta.shape[-1]]
    return beta - sign


# A parameter's name: its distribution, or its one value.
RULES = {
    r"mixer\.(delta|alpha)": lambda p, spec: cut_normal(0.2),
    r"mixer\.(gamma|omega)": lambda p, spec: cut_normal(1.0),
    r"mixer\.beta": lambda p, spec: cut_normal(0.02),
    r"branches\.0\.module\.weight": lambda p, spec: cut_normal(0.02),
    r"branches\.0\.module\.bias": lambda p, spec: 0.0,
    r"router\.projection\.weight": lambda p, spec: cut_normal(0.02),
    r"router\.projection\.bias": lambda p, spec: 0.0,
    r"router\.log_temperature": lambda p, spec: math.log(
        spec.blocks[0].branches[1].router.init_temperature_scale * math.sqrt(spec.d_model)
    ),
    r"sub_modules\.0\.(gamma|input\.weight|output\.weight|position\.weight)": lambda p, spec: cut_normal(
        0.02
    ),
    r"sub_modules\.0\.(beta|input\.bias|output\.bias)": lambda p, spec: 0.0,
    r"norm\.weight": lambda p, spec: 1.0,
    r"norm\.bias": lambda p, spec: 0.0,
    r"embedding\.sinusoid\.scale": lambda p, spec: spec.d_model**-0.5,
    r"embedding\.weight": lambda p, spec: stats.norm(0, 1 if p.dim() == 1 else spec.d_model**-0.5),
    r"embedding\.bias": lambda p, spec: stats.norm(0, 0.1),
    r"head\.(hidden\.0|output)\.weight": lambda p, spec: glorot(p),
    r"head\.hidden\.0\.bias": lambda p, spec: 0.0,
}

MODELS = {
    "image": seqboat_lra_image,
    "listops": seqboat_lra_listops,
    "speech": seqboat_speech_commands,
    "language_model": lambda: seqboat(
        vocab_size=200, d_model=96, n_layers=2, d_state=5, init_temperature_scale=0.7
    ),
}


@pytest.fixture(scope="module", params=MODELS)
def built(request):
    torch.manual_seed(0)
    spec = MODELS[request.param]()
    return spec, spec.build()


def rule_of(name):
    found = [rule for pattern, rule in RULES.items() if re.search(f"(^|\\.|_){pattern}$", name)]
    assert len(found) == 1, name
    return found[0]


def test_every_parameter_has_its_distribution(built):
    spec, model = built
    samples = {}
    for name, parameter in model.named_parameters():
        expected = rule_of(name)(parameter, spec)
        values = parameter.detach()
        if name.endswith("mixer.beta"):
            values = without_sign(values)
        if isinstance(expected, float):
            torch.testing.assert_close(values, torch.full_like(values, expected), rtol=1e-6, atol=0)
            continue
        layer = re.sub(r"blocks\.\d+", "blocks", name)  # all layers together
        samples.setdefault(layer, (expected, []))[1].append(values.flatten())
    for name, (expected, parts) in samples.items():
        values = torch.cat(parts).double().numpy()
        low, high = expected.support()
        assert low - 1e-6 <= values.min(), name
        assert values.max() <= high + 1e-6, name
        error = 5 * expected.std() / math.sqrt(len(values))
        assert abs(values.mean() - expected.mean()) < error, name
        assert abs(values.std() - expected.std()) < error, name
        assert stats.kstest(values, expected.cdf).pvalue > 1e-4, name


def test_layers_are_drawn_apart(built):
    _, model = built
    first, second = (block.branches[1].sub_modules[0].input.weight for block in list(model.blocks)[:2])
    assert abs(torch.corrcoef(torch.stack((first.flatten(), second.flatten())))[0, 1]) < 0.05


def test_a_wrong_distribution_is_noticed():
    torch.manual_seed(0)
    uncut = torch.randn(10_000).mul(0.02).clamp(-0.04, 0.04).double().numpy()
    assert stats.kstest(uncut, cut_normal(0.02).cdf).pvalue < 1e-4
