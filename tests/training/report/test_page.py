"""The report: one page that needs nothing else and says what one must know."""

import re
from typing import Any

import torch
from browsing import Browser

import sma
from sma.training import TrainSpec
from sma.training.train import train

PNG = b"\x89PNG\r\n\x1a\n"


def test_a_text_run_reports_everything(values: dict[str, Any], tmp_path: Any) -> None:
    spec = TrainSpec.model_validate(values)
    run, _ = train(spec, root=tmp_path / "runs", command=("sma", "train", "--seed", "0"))
    page = (run.path / "report.html").read_text()
    assert not re.findall(r'(?:src|href)="(?!data:)', page)  # self-contained
    for image in ("bits.png", "activation.png", "loss.png", "tinted_text_1.png", "layers_1.png"):
        assert (run.path / image).read_bytes().startswith(PNG)
    facts, results = run.facts(), run.results()
    assert facts is not None
    assert results is not None
    for text in (
        facts.data["SHA-256 of all files"],
        "sma train --seed 0",
        torch.__version__,
        sma.__version__,
        f"{results.parameters:,}",
        f"{results.test.bits:.3f} bits per byte",
        "xz -9e of the test bytes alone",
        "sub-modules activated",
        "kind: text_files",
        "layer 2, GAU",  # modules are named by their kind
        '<td>blocks.0-1.branches.1.sub_modules.0<br><span class="faint">GAU (routed)</span></td>',
    ):
        assert text in page, text


def test_a_digits_run_reports_everything(browser: Browser, tmp_path: Any) -> None:
    model = {"preset": "seqboat", "d_input": 1, "n_classes": 10, "d_model": 8, "n_layers": 1, "d_qk": 4}
    spec = TrainSpec.model_validate(
        {"task": "digits", "model": model, "steps": 2, "batch_size": 4, "log_interval": 5}
    )
    run, _ = train(spec, root=tmp_path)
    page = (run.path / "report.html").read_text()
    for image in ("accuracy.png", "confusion.png", "tinted_images.png"):
        assert (run.path / image).read_bytes().startswith(PNG)
    for image in ("activation.png", "loss.png"):  # nothing was logged that they could show
        assert not (run.path / image).exists()
    for text in ("logistic regression", "% correct", "held-out images are right"):
        assert text in page
    browser.check(run.path / "report.html")


def test_reports_are_read_on_small_and_large_screens(
    browser: Browser, values: dict[str, Any], tmp_path: Any
) -> None:
    name = "a-run-whose-name-goes-on-and-on-without-a-space-in-it-for-sixty-characters"
    run, _ = train(TrainSpec.model_validate(values), root=tmp_path, name=name)
    path = run.path / "report.html"
    browser.check(path, lambda page: page.click("summary"))

    def measures(page: Any) -> list[Any]:
        """Whether the value of every bar is inside the window."""
        return page.evaluate(
            "[...document.querySelectorAll('.bars .number')].map(e => e.getBoundingClientRect().right)"
        )

    found = browser.visit(path, measures, width=380)
    assert len(found) == 4
    assert max(found) <= 380
