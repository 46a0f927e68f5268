"""The command: what it prints and makes, and wrong options in one line."""

import pytest

from tests.training.sparsification.conftest import text, write_llama


@pytest.fixture
def arguments(tmp_path):
    (tmp_path / "text.txt").write_text(text(60))
    folder = write_llama(tmp_path / "dense")
    sizes = ("--steps", 2, "--batch-size", 2, "--length", 8, "--rows", 4)
    return ("sparsify", folder, "--data", tmp_path / "text.txt", "--out", tmp_path / "out", *sizes)


def test_it_reports(sma, arguments, tmp_path):
    result = sma(*arguments, "--controls", "random", "--parts", "feed_forward,attention")
    assert result.exit_code == 0, result.output
    assert "learned, step 2:" in result.output
    assert "skipping at random at the same rates" in result.output
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"model", "report.html", "report.json"}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--weights", "adapted"), "--weights adapted: use trained or frozen or lora"),
        (("--parts", "mlp"), "parts"),
        (("--rate", 2), "rate"),
        (("--router", "expert_choice"), "router"),
    ],
)
def test_wrong_options_are_one_line(sma, arguments, tmp_path, options, message):
    result = sma(*arguments, *options)
    assert result.exit_code == 2
    assert message in result.output
    assert len(result.output.strip().splitlines()) == 1
    assert not (tmp_path / "out").exists()
