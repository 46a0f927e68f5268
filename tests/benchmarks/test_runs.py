import json
import sys

import pytest

from benchmarks import runs
from benchmarks.runs import Table, main, read_results, train_one, write_results

TABLE = """
task: digits
settings: [steps=4, validation_interval=2, batch_size=2, model.d_model=8, model.blocks.0.repeat=1]
runs:
  learned: []
  never: [model.blocks.0.branches.1.router=never]
"""


@pytest.fixture
def path(tmp_path):
    (tmp_path / "table.yaml").write_text(TABLE)
    return tmp_path / "table.yaml"


def test_a_run_is_the_ready_run_with_its_settings(path):
    spec = Table.read(path).spec("never", 3)
    assert (spec.seed, spec.steps, spec.model.d_model) == (3, 4, 8)
    assert spec.model.blocks[0].branches[1].router.kind == "never"


def test_a_run_gives_its_curve_and_realised_operations(path):
    found = {name: train_one(Table.read(path).spec(name, 0)) for name in ("learned", "never")}
    assert [point[0] for point in found["never"]["curve"]] == [2, 4]
    assert found["never"]["activation"] == [0.0]
    rate = found["learned"]["activation"][0]
    gau = found["learned"]["operations"] - found["never"]["operations"]
    assert 0 < rate < 1
    assert gau == pytest.approx(rate * _gau_operations(path) + 2 * 8 * 2, rel=0.02)  # and the router


def _gau_operations(path):
    module = Table.read(path).spec("learned", 0).model.build()
    return module.blocks[0].branches[1].sub_modules[0].flops(10**6) / 10**6


def test_finished_runs_are_not_repeated(path, monkeypatch):
    write_results(path, {"learned": {"0": {"kept": True}}})
    monkeypatch.setattr(runs, "ProcessPoolExecutor", Here)
    monkeypatch.setattr(sys, "argv", ["runs", str(path)])
    main()
    results = read_results(path)
    assert results["learned"]["0"] == {"kept": True}
    assert results["never"]["0"]["ending"] == "finished"
    assert json.loads(path.with_suffix(".json").read_text()) == results


class Here:
    """Runs in this process what another should."""

    def __init__(self, *arguments, **options):
        pass

    def __enter__(self):
        return self

    def __exit__(self, *error):
        pass

    def submit(self, function, *arguments):
        self.result = lambda: function(*arguments)
        return self
