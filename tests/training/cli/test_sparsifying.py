"""The command: what it prints and makes, and wrong options in one line."""

import json
import signal

import pytest
from rich.console import Console

from sma.training.inspection import inspecting
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
    assert "operations of the parts  of the model  time" in result.output
    assert (
        "the rate is missed: 100 % of the parts' operations are computed, 50 % were asked for"
        in result.output
    )
    checked = sma("check", tmp_path / "out", "--property", "save and load")
    assert (checked.exit_code, "holds       save and load" in checked.output) == (0, True), checked.output


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_leaves_a_checkpoint_that_the_command_resumes(
    sma, arguments, tmp_path, monkeypatch, number, code
):
    show = Console.print

    def stop(console, text="", **options):
        show(console, text, **options)
        if str(text).startswith("random, step 1:"):
            signal.raise_signal(number)

    command = (*arguments, "--controls", "random")
    with monkeypatch.context() as patched:
        patched.setattr(Console, "print", stop)
        stopped = sma(*command)
    assert stopped.exit_code == code
    kept = tmp_path / "out" / "random.safetensors"
    assert kept.exists()
    assert f"stopped after step 1 of 2, which is kept in {kept}; the same command goes on" in stopped.output
    resumed = sma(*command)
    assert resumed.exit_code == 0, resumed.output
    assert "random, step 2:" in resumed.output
    assert "step 1:" not in resumed.output


def test_a_page_that_cannot_be_written_is_found_before(sma, monkeypatch, tmp_path):
    monkeypatch.setattr(inspecting, "inspect", lambda *_, **__: pytest.fail("it is too late"))
    result = sma("inspect", tmp_path, "--out", "/proc/x.html")
    assert result.exit_code == 1
    assert "cannot write /proc/x.html" in result.output
    assert "name another file by --out" in result.output
    result = sma("inspect", tmp_path, "--out", tmp_path)
    assert (result.exit_code, "is a folder; name a file" in result.output) == (2, True)
    assert list(tmp_path.iterdir()) == []


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
        (
            ("--set", "steps=3"),
            "steps=2 is given by its own option, and --set steps=3 as well; leave out one",
        ),
        (("--parts", "layer", "--set", "parts.0=attention"), "parts=['layer'] is given by its own option"),
        (("--set", "seed=3"), "seed is not a field of --set; give --seed"),
        (("--set", "batch_size=3"), "batch_size is not a field of --set; give --batch-size"),
    ],
)
def test_wrong_options_are_one_line(sma, arguments, tmp_path, options, message):
    result = sma(*arguments, *options)
    assert result.exit_code == 2
    assert message in result.output
    assert len(result.output.strip().splitlines()) == 1
    assert not (tmp_path / "out").exists()
