"""Only the core's packages are needed to compute; what is missing elsewhere is named with its extra."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
CORE = {"torch", "numpy", "pydantic", "torch-geometric", "safetensors", "pyyaml", "typing-extensions"}
IMPORTED_AS = {"scikit-learn": "sklearn", "pillow": "PIL"}
BLOCKED = sorted(
    {
        IMPORTED_AS.get(name, name.replace("-", "_"))
        for extra in PROJECT["optional-dependencies"].values()
        for name in (re.match(r"[\w-]+", line).group() for line in extra)
        if name not in ("sparse-modular-activation", "setuptools", "jinja2")  # torch needs the last
    }
    | {"networkx", "click"}
)

BLOCK = f"""
import json, sys
class Blocked:
    def __init__(self, finder):
        self.finder = finder
    def find_spec(self, name, *args):
        return None if name.partition(".")[0] in {BLOCKED} else self.finder.find_spec(name, *args)
sys.meta_path[:] = map(Blocked, sys.meta_path)
def message(statement):
    try:
        exec(statement)
    except ImportError as error:
        return f"{{type(error).__name__}}: {{error}}"
"""

WORKS = """
import sma, sma.modules, sma.architectures, sma.plots, sma.training
for package in (sma, sma.modules, sma.architectures, sma.training):
    exec(f"from {package.__name__} import *")
import tempfile, torch
model = seqboat(vocab_size=5, d_model=8, n_layers=1).build()
with sma.record(model) as recording:
    model(torch.zeros(1, 4, dtype=torch.long)).sum().backward()
folder = tempfile.mkdtemp()
save_model(model, folder)
load_model(folder)
sma.plots.text_html(recording, "abcd")
graphs = graph_network(d_model=4, n_layers=1, d_input=3, n_classes=2).build()
from torch_geometric.data import Data
graphs(Data(x=torch.zeros(2, 3), edge_index=torch.tensor([[0], [1]])))
"""

MISSING = {
    "from sma.training.cli import app": ("the command sma", "rich", "command"),
    "import sma.training.report.picture": ("the picture of a spec", "rich", "command"),
    "sma.plots.draw_layers(None)": ("draw_layers", "matplotlib", "plots"),
    "sma.plots.draw_text(None, '')": ("draw_text", "matplotlib", "plots"),
    "sma.plots.draw_images([], None)": ("draw_images", "matplotlib", "plots"),
    "sma.plots.draw_graph(None, None)": ("draw_graph", "matplotlib", "plots"),
    "sma.training.train(None)": ("the report of a run", "matplotlib", "plots"),
    "sma.training.resume(None, None)": ("the report of a run", "matplotlib", "plots"),
    "from sma.training.figures import draw_loss; draw_loss([])": (
        "the report of a run",
        "matplotlib",
        "plots",
    ),
    "from sma.training.figures import draw_confusion; draw_confusion([], [])": (
        "the report of a run",
        "matplotlib",
        "plots",
    ),
    "from sma.training.tasks.digits import DigitsSpec; DigitsSpec().build()": (
        "the task digits",
        "sklearn",
        "tasks",
    ),
    "from sma.training.tasks.rows_task import RowsTask; RowsTask({}, title='', facts={}, classes=())": (
        "classification of rows",
        "sklearn",
        "tasks",
    ),
    "from sma.training.tasks.published.speech import _split; _split(9, None)": (
        "the split of Speech Commands",
        "sklearn",
        "tasks",
    ),
    "from pathlib import Path; from sma.training.tasks.published.pixels import _read_png; "
    "_read_png(Path('a.png'), 2)": ("a.png", "PIL", "tasks"),
    "from sma.training.generators.espeak import fit; fit(None, 2, 1, 1)": (
        "synthetic speech",
        "scipy",
        "data",
    ),
    "from pathlib import Path; from sma.training.tasks.text.tokenizer import FileTokenizer; "
    "FileTokenizer(Path('a.json'))": ("task.tokenizer='a.json'", "tokenizers", "tokenizers"),
    "from pathlib import Path; from sma.training.tasks.reading.table_files import _parquet; "
    "next(_parquet(Path('a.parquet'), []))": ("a.parquet", "pyarrow", "parquet"),
    **{
        f"from sma.training.loggers import {kind}Spec as Spec; Spec().build()": (
            f"the logger {kind.lower()}",
            kind.lower(),
            kind.lower(),
        )
        for kind in ("TensorBoard", "Wandb", "Trackio")
    },
    "import sma.testing": ("sma.testing", "hypothesis", "test"),
}
"""By statement: what needs a package, which one, and the extra that installs it."""


@pytest.fixture(scope="module")
def found():
    """The message of every statement, where what the extras install cannot be imported."""
    code = f"{BLOCK}{WORKS}print(json.dumps({{s: message(s) for s in {list(MISSING)}}}))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert not done.returncode, done.stderr
    return json.loads(done.stdout)


@pytest.mark.parametrize("statement", MISSING)
def test_what_is_missing_is_named(found, statement):
    what, package, extra = MISSING[statement]
    assert found[statement] == (
        f"MissingPackageError: {what} needs the package {package} (No module named {package!r}); install it "
        f"with: pip install 'sparse-modular-activation[{extra}]'"
    )


@pytest.mark.parametrize(
    "command", [["-m", "sma", "--help"], ["-c", "from sma.__main__ import main; main()"]]
)
def test_the_command_says_what_it_lacks(command, tmp_path):
    (tmp_path / "sitecustomize.py").write_text(BLOCK)
    done = subprocess.run(
        [sys.executable, *command],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env={"PYTHONPATH": str(tmp_path), "PATH": ""},
    )
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr == (
        "sma: the command sma needs the package rich (No module named 'rich'); install it with: pip install "
        "'sparse-modular-activation[command]'\n"
    )


def names(requirements):
    return {re.match(r"[\w-]+", line).group().lower() for line in requirements}


def test_the_core_needs_few_packages():
    assert names(PROJECT["dependencies"]) == CORE


def test_every_extra_that_is_named_exists_and_installs_the_package():
    extras = PROJECT["optional-dependencies"]
    distributions = {module: name for name, module in IMPORTED_AS.items()}
    for _, package, extra in MISSING.values():
        assert distributions.get(package, package) in {
            name for line in extras[extra] for name in names([line])
        }


def test_all_is_every_extra_of_users():
    extras = PROJECT["optional-dependencies"]
    (line,) = extras["all"]
    found = set(re.search(r"\[(.*)\]", line).group(1).split(","))
    of_developers = {"dev", "docs", "test"}
    assert found | {"plots", "all"} == extras.keys() - of_developers  # plots are in command
