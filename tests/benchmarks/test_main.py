"""The page of docs/performance.md from a template and what benchmarks print."""

import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from benchmarks import __main__ as bench

TEMPLATE = "# Title\n\n{{measured}} Times are medians.\n\n## One\n\n{{one}}\n\n## Two\n\n{{two}}\n"


@pytest.fixture
def small(tmp_path, monkeypatch):
    """A page of two benchmarks, which print their name and options."""
    (tmp_path / "template.md").write_text(TEMPLATE)
    monkeypatch.setattr(bench, "ROOT", tmp_path)
    monkeypatch.setattr(bench, "TEMPLATE", tmp_path / "template.md")
    monkeypatch.setattr(bench, "PAGE", tmp_path / "page.md")
    monkeypatch.setattr(bench, "KEPT", tmp_path / "build" / "bench")
    monkeypatch.setattr(bench, "machine", lambda threads: f"a machine with {threads} threads")
    runs = []

    def run(name, options):
        runs.append(name)
        return f"figures of {name}\n" if (tmp_path / "works").exists() or name == "one" else None

    monkeypatch.setattr(bench, "run", run)
    monkeypatch.setattr(sys, "argv", ["benchmarks", "--threads", "3"])
    return runs


def test_a_run_goes_on_where_it_was_and_then_writes_the_page(small, tmp_path):
    with pytest.raises(SystemExit, match="not written, since there are no figures of: two"):
        bench.main()
    assert not bench.PAGE.exists()
    (tmp_path / "works").touch()
    bench.main()
    assert small == ["one", "two", "two"]
    page = bench.PAGE.read_text()
    assert page.startswith("# Title\n\nMeasured 2")
    assert " by `make bench` on a machine with 3 threads. Times are medians.\n\n## One" in page
    assert "## Two\n\n`python -m benchmarks.two --threads 3`\n\nfigures of two\n" in page
    assert "{{" not in page
    bench.main()  # from the beginning
    assert small == ["one", "two", "two", "one", "two"]


def test_figures_of_one_wait_for_the_others(small, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["benchmarks", "--only", "one"])
    with pytest.raises(SystemExit, match="no figures of: two"):
        bench.main()
    assert small == ["one"]


def test_every_benchmark_of_the_page_is_there():
    known = bench.names(bench.TEMPLATE.read_text())
    assert len(known) == len(set(known)) > 5
    for name in (*known, *bench.LITERAL, *bench.WITH_REFERENCE, *bench.WITHOUT_THREADS):
        assert find_spec(f"benchmarks.{name}") is not None
        assert name in known


def test_the_command_names_no_folder_of_this_machine():
    options = bench.arguments("layer", Path("/somewhere/SeqBoat"), 2)
    assert options == ["--threads", "2", "--reference", "/somewhere/SeqBoat"]
    assert bench.section("layer", options, "| a |\n") == (
        "`python -m benchmarks.layer --threads 2 --reference /path/to/SeqBoat`\n\n| a |"
    )
    assert bench.section("ema", [], "a  b\n") == "`python -m benchmarks.ema`\n\n```text\na  b\n```"
    assert bench.arguments("imports", Path("/somewhere"), 2) == []


def test_the_packages_that_are_measured_have_versions():
    from benchmarks.peers import CONTESTS

    packages = bench.peers()
    assert "local-attention" in packages
    for make in CONTESTS.values():
        for peer in make().peers.values():
            assert peer.install in packages


def test_a_benchmark_that_fails_has_no_output(monkeypatch):
    monkeypatch.setattr(bench, "ROOT", Path(bench.__file__).parents[1])
    assert bench.run("nothing_of_this_name", []) is None
