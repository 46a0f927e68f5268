"""The page of docs/performance.md from a template and what benchmarks print."""

import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from benchmarks import __main__ as bench
from benchmarks.peers import CONTESTS

TEMPLATE = "# Title\n\n{{measured}} Times are medians.\n\n## One\n\n{{one}}\n\n## Two\n\n{{two --only a}}\n"


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

    def run(command):
        runs.append(command[0])
        works = (tmp_path / "works").exists() or command[0] == "one"
        return f"figures of {command[0]}\n" if works else None

    monkeypatch.setattr(bench, "run", run)
    monkeypatch.setattr(sys, "argv", ["benchmarks", "--threads", "3"])
    return runs


def test_a_run_goes_on_where_it_was_and_then_writes_the_page(small, tmp_path):
    with pytest.raises(SystemExit, match="not written, since there are no figures of: two --only a"):
        bench.main()
    assert not bench.PAGE.exists()
    (tmp_path / "works").touch()
    bench.main()
    assert small == ["one", "two", "two"]
    page = bench.PAGE.read_text()
    assert page.startswith("# Title\n\nMeasured 2")
    assert " by `make bench` on a machine with 3 threads. Times are medians.\n\n## One" in page
    assert "## Two\n\n`python -m benchmarks.two --only a --threads 3`\n\nfigures of two\n" in page
    assert "{{" not in page
    bench.main()  # from the beginning
    assert small == ["one", "two", "two", "one", "two"]


def test_figures_of_one_wait_for_the_others(small, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["benchmarks", "--only", "one"])
    with pytest.raises(SystemExit, match="no figures of: two --only a"):
        bench.main()
    assert small == ["one"]


def test_every_benchmark_of_the_page_is_there():
    calls = bench.calls(bench.TEMPLATE.read_text())
    names = {call.split()[0] for call in calls}
    assert len(calls) == len(set(calls)) > 5
    for name in (*names, *bench.LITERAL, *bench.WITH_REFERENCE, *bench.WITHOUT_THREADS):
        assert find_spec(f"benchmarks.{name}") is not None
        assert name in names
    contests = [option for call in calls if call.startswith("peers --only ") for option in call.split()[2:]]
    assert sorted(contests) == sorted(CONTESTS)


def test_the_command_names_no_folder_of_this_machine():
    command = bench.arguments("layer", Path("/somewhere/SeqBoat"), 2)
    assert command == ["layer", "--threads", "2", "--reference", "/somewhere/SeqBoat"]
    assert bench.section(command, "| a |\n") == (
        "`python -m benchmarks.layer --threads 2 --reference /path/to/SeqBoat`\n\n| a |"
    )
    assert bench.section(["ema"], "a  b\n") == "`python -m benchmarks.ema`\n\n```text\na  b\n```"
    assert bench.arguments("imports", Path("/somewhere"), 2) == ["imports"]
    assert bench.arguments("peers --only a", None, 2) == ["peers", "--only", "a", "--threads", "2"]


def test_the_packages_that_are_measured_have_versions():
    packages = bench.peers()
    assert "local-attention" in packages
    for make in CONTESTS.values():
        for peer in make().peers.values():
            assert peer.install in packages


def test_a_benchmark_that_fails_has_no_output(monkeypatch):
    monkeypatch.setattr(bench, "ROOT", Path(bench.__file__).parents[1])
    assert bench.run(["nothing_of_this_name"]) is None
