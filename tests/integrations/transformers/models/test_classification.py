import pytest
import torch
from torch import nn

from sma.architectures import seqboat
from sma.transformers import SMAConfig, SMAForSequenceClassification, SMAForTokenClassification

SIZES = {"d_model": 16, "n_layers": 2, "window": 4, "d_qk": 4, "d_state": 2}


@pytest.fixture
def rows(config):
    torch.manual_seed(0)
    return SMAForSequenceClassification(config.with_head(kind="classifier", n_classes=3)).eval()


@pytest.fixture
def elements(config):
    torch.manual_seed(0)
    return SMAForTokenClassification(config.with_head(kind="node_classifier", n_classes=3)).eval()


@pytest.fixture
def mask():
    return torch.tensor([[1] * 9, [0] * 4 + [1] * 5, [1] * 3 + [0] * 6])


def test_rows_are_scored_as_by_the_model(rows, tokens, mask):
    output = rows(tokens, mask, output_hidden_states=True)
    torch.testing.assert_close(output.logits, rows.model(tokens, mask.bool()))
    assert output.logits.shape == (3, 3)
    torch.testing.assert_close(rows.model.head(output.hidden_states[-1], mask.bool()), output.logits)


def test_the_loss_of_rows(rows, tokens):
    labels = torch.tensor([2, -100, 0])
    output = rows(tokens, labels=labels)
    logs = output.logits.log_softmax(-1)
    torch.testing.assert_close(output.loss, -(logs[0, 2] + logs[2, 0]) / 2)
    torch.testing.assert_close(rows(tokens, labels=labels, num_items_in_batch=8).loss, output.loss * 2 / 8)


def test_the_loss_of_elements(elements, tokens, mask):
    labels = (tokens % 3).masked_fill(mask == 0, -100)
    output = elements(tokens, mask, labels=labels)
    expected = -output.logits.log_softmax(-1).gather(2, labels.clamp(min=0)[..., None])[mask.bool()].mean()
    torch.testing.assert_close(output.loss, expected)
    elements.train()
    trained = elements(tokens, mask, labels=labels)
    assert trained.loss > output.loss
    trained.loss.backward()
    assert all(parameter.grad is not None for parameter in elements.parameters())


def test_regression_and_several_labels(config, tokens):
    model = SMAForSequenceClassification(config.with_head(kind="classifier", n_classes=1)).eval()
    numbers = torch.tensor([0.5, 1.0, -2.0])
    output = model(tokens, labels=numbers)
    torch.testing.assert_close(output.loss, (output.logits[:, 0] - numbers).square().mean())
    assert model.config.problem_type == "regression"
    several = SMAForSequenceClassification(config.with_head(kind="classifier", n_classes=2)).eval()
    both = torch.tensor([[1.0, 0.0], [1.0, 1.0], [0.0, 0.0]])
    output = several(tokens, labels=both)
    expected = nn.functional.binary_cross_entropy(output.logits.sigmoid(), both)
    torch.testing.assert_close(output.loss, expected)
    torch.testing.assert_close(several(tokens, labels=both, num_items_in_batch=12).loss, expected / 2)


def test_numbers_and_features_are_read_as_input_values(tokens):
    spec = seqboat(d_input=2, n_classes=3, **SIZES)
    model = SMAForSequenceClassification(SMAConfig(spec=spec)).eval()
    x = torch.randn(2, 5, 2)
    assert model.main_input_name == "input_values"
    assert torch.equal(model(input_values=x).logits, model.model(x))
    with pytest.raises(ValueError, match="give input_values, what the embedding of kind 'features' reads"):
        model(tokens, input_values=x)


@pytest.mark.parametrize(
    ("cls", "head", "message"),
    [
        (
            SMAForSequenceClassification,
            None,
            r"head.kind='language_model' scores next tokens.*kind='classifier'",
        ),
        (
            SMAForTokenClassification,
            None,
            r"scores next tokens.*needs a head that scores elements.*node_classifi",
        ),
        (SMAForTokenClassification, {"kind": "classifier"}, r"head.kind='classifier' scores rows"),
        (SMAForSequenceClassification, {"kind": "node_classifier"}, r"scores elements.*scores rows"),
        (
            SMAForSequenceClassification,
            {"kind": "classifier", "n_documents": 2},
            r"head.n_documents=2: .*hub.push",
        ),
    ],
)
def test_another_head_is_refused(config, cls, head, message):
    changed = config if head is None else config.with_head(n_classes=3, **head)
    with pytest.raises(ValueError, match=message) as error:
        cls(changed)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("labels", "problem", "message"),
    [
        (
            torch.zeros(3, 3).long(),
            None,
            r"labels are \(3, 3\) torch.int64, but must be integers of shape \(3,\)",
        ),
        (
            torch.zeros(3),
            "single_label_classification",
            r"labels are \(3,\) torch.float32, but must be integers",
        ),
        (torch.zeros(3).long(), "regression", r"problem_type='regression' needs floating-point.*\(3, 3\)"),
        (
            torch.zeros(3),
            "multi_label_classification",
            r"of shape \(3, 3\); give those, or another problem_type",
        ),
    ],
)
def test_wrong_labels_are_named(rows, tokens, labels, problem, message):
    rows.config.problem_type = problem
    with pytest.raises(ValueError, match=message):
        rows(tokens, labels=labels)


def test_labels_of_elements_must_fit(elements, tokens):
    with pytest.raises(
        ValueError, match=r"labels are \(3,\) torch.int64, but must be integers of shape \(3, 9\)"
    ):
        elements(tokens, labels=torch.zeros(3).long())
