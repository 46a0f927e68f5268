"""The command: what it prints and makes, and wrong options in one line."""

import json

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
    checked = sma("check", tmp_path / "out", "--property", "save and load")
    assert (checked.exit_code, "holds       save and load" in checked.output) == (0, True), checked.output


def test_what_it_wrote_is_inspected(sma, browser, arguments, tmp_path):
    made = sma(
        *arguments, "--controls", "", "--parts", "feed_forward,attention", "--set", "router_learning_rate=9"
    )
    assert made.exit_code == 0, made.output
    assert f"sma inspect {tmp_path / 'out'}" in made.output.replace("\n", " ")
    options = ("--rows", 3, "--flips", 4, "--example", 0, "--example", 1)
    shown = sma("inspect", tmp_path / "out", *options)
    assert shown.exit_code == 0, shown.output
    for part in ("model.layers.0.self_attn", "model.layers.1.mlp", "gain, active", "in bits", "Left out:"):
        assert part in shown.output
    page = tmp_path / "out" / "inspection.html"
    assert f"page: {page}" in shown.output
    browser.check(page, lambda opened: opened.locator("#row .flip").first.click())
    found = json.loads(sma("inspect", tmp_path / "out", *options, "--json").stdout)
    assert found["examples"][0]["texts"]
    assert "Left out: activation over training" in page.read_text()


def test_a_folder_of_another_kind_is_named(sma, arguments, tmp_path):
    result = sma("inspect", arguments[1])
    assert result.exit_code == 2
    assert "is not the folder of a run (it has no spec.yaml)" in result.output
    assert "nor did sma sparsify write it (it has no report.json beside a folder model)" in result.output
    assert len(result.output.strip().splitlines()) == 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--weights", "adapted"), "weights"),
        (("--set", "skiped=seen"), "there is no field skiped; did you mean skipped"),
        (("--set", "task=1", "--set", "kind=other"), "kind"),
        (("--parts", "mlp"), "parts"),
        (("--rate", 2), "rate"),
        (("--set", "router.kind=expert_choice"), "router"),
    ],
)
def test_wrong_options_are_one_line(sma, arguments, tmp_path, options, message):
    result = sma(*arguments, *options)
    assert result.exit_code == 2
    assert message in result.output
    assert len(result.output.strip().splitlines()) == 1
    assert not (tmp_path / "out").exists()
