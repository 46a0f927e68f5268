"""Text tasks: splits, streams, and errors."""

from pathlib import Path

import pytest
import torch

from sma.training.tasks.task import IGNORED
from sma.training.tasks.text.byte_classes import CLASS_OF_BYTE
from sma.training.tasks.text.text_files import PythonSourceSpec, TextFilesSpec


def write_files(folder: Path, n: int = 12, size: int = 100) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for i in range(n):
        (folder / f"file{i}.txt").write_bytes(bytes(97 + (i + j) % 26 for j in range(size)))
    return folder


def spec(folder: Path, **fields: object) -> TextFilesSpec:
    shares = {"validation_share": 0.2, "test_share": 0.2}
    values = {"folder": str(folder), "length": 16, "evaluation_length": 32, **shares}
    return TextFilesSpec.model_validate({**values, **fields})


def test_no_file_is_in_two_splits(tmp_path: Path) -> None:
    corpus = spec(write_files(tmp_path, 40)).build().corpus
    parts = [{file.path for file in part} for part in (corpus.training, corpus.validation, corpus.test)]
    assert all(parts)
    assert sum(map(len, parts)) == len(set.union(*parts)) == 40


def test_training_batches_come_from_the_generator_alone(tmp_path: Path) -> None:
    task = spec(write_files(tmp_path)).build()
    first, again = (task.training_batch(4, torch.Generator().manual_seed(3)) for _ in range(2))
    assert first.inputs.shape == first.targets.shape == (4, 16)
    assert torch.equal(first.inputs, again.inputs)
    assert torch.equal(first.inputs[:, 1:], first.targets[:, :-1])
    assert not torch.equal(first.inputs, task.training_batch(4, torch.Generator().manual_seed(4)).inputs)


@pytest.mark.parametrize("batch_size", [1, 3, 100])
def test_evaluation_scores_every_byte_once(tmp_path: Path, batch_size: int) -> None:
    task = spec(write_files(tmp_path, size=77)).build()
    scored, read = [], []
    for batch in task.evaluation_batches("test", batch_size):
        real = batch.targets != IGNORED
        assert batch.mask is None or torch.equal(batch.mask, real)
        scored.append(batch.targets[real])
        read.append(batch.inputs[real])
    stream = b"".join(b"\0" + file.content for file in task.corpus.test)
    assert bytes(torch.cat(scored).tolist()) == stream[1:]
    assert bytes(torch.cat(read).tolist()) == stream[:-1]


def test_validation_reads_about_as_much_as_asked(tmp_path: Path) -> None:
    folder = write_files(tmp_path, 30)
    everything, little = (spec(folder, validation_bytes=n).build() for n in (10**6, 64))
    count = [
        sum(int((batch.targets != IGNORED).sum()) for batch in task.evaluation_batches("validation", 2))
        for task in (everything, little)
    ]
    assert count[0] > count[1]
    assert 33 <= count[1] <= 64  # one of the two rows may be the last one, which is shorter


def test_facts_name_the_data(tmp_path: Path) -> None:
    folder = write_files(tmp_path / "mine")
    task = spec(folder).build()
    assert "mine" in task.title
    before = task.facts["SHA-256 of all files"]
    (folder / "file0.txt").write_text("changed")
    assert spec(folder).build().facts["SHA-256 of all files"] != before


def test_baselines_score_the_test_bytes(tmp_path: Path) -> None:
    baselines = spec(write_files(tmp_path)).build().baselines()
    order_0, order_2, xz = baselines.values()
    assert order_2 < order_0 < 8  # the alphabet repeats, so two bytes say the third
    assert xz > 0


def test_python_source_is_found_without_its_tests() -> None:
    files, title, facts = PythonSourceSpec().read()
    paths = {file.path for file in files}
    assert "json/decoder.py" in paths
    assert not any("site-packages" in path or path.startswith(("test/", "encodings/")) for path in paths)
    assert facts["Python"] in title


@pytest.mark.parametrize(
    ("prepare", "fields", "message"),
    [
        (lambda folder: None, {"folder": "nowhere"}, "task.folder='nowhere' is not a folder"),
        (
            lambda folder: None,
            {},
            r"no file in .* matches task.pattern='\*\*/\*' and holds any text; name another",
        ),
        (lambda folder: write_files(folder), {"pattern": "*.md"}, r"matches task.pattern='\*\.md'"),
        (lambda folder: write_files(folder), {"pattern": "/etc/*"}, "not a pattern below the folder"),
        (
            lambda folder: write_files(folder),
            {"pattern": "../../*"},
            r"leads out of the folder; leave out '\.\.'",
        ),
        (lambda folder: write_files(folder), {"folder": "~no-such-user/x"}, "name the path without ~"),
        (lambda folder: write_files(folder), {"pattern": "a/" * 3000 + "*"}, "is nested too deep"),
        (lambda folder: write_files(folder, 2), {}, "only 2 with text were found; add files"),
        (
            lambda folder: write_files(folder),
            {"length": 4000},
            "less than a row of length=4000; set a smaller",
        ),
    ],
)
def test_errors_say_what_to_do(
    tmp_path: Path, prepare: object, fields: dict[str, object], message: str
) -> None:
    prepare(tmp_path)  # type: ignore[operator]
    with pytest.raises(ValueError, match=message) as error:
        TextFilesSpec.model_validate({"folder": str(tmp_path), **fields}).build()
    assert "\n" not in str(error.value)


def test_elements_are_shown_as_characters(tmp_path: Path) -> None:
    task = spec(write_files(tmp_path)).build()
    row = torch.tensor(list(b"def f():\n\xe9"))
    assert task.element_texts(row) == ["d", "e", "f", " ", "f", "(", ")", ":", "\n", "\xe9"]


def test_bytes_have_their_classes_as_roles(tmp_path: Path) -> None:
    task = spec(write_files(tmp_path)).build()
    batches = [
        task.training_batch(2, torch.Generator().manual_seed(0)),
        *task.evaluation_batches("test", 2),
    ]
    for batch in batches:
        assert batch.roles is not None
        assert torch.equal(batch.roles, torch.from_numpy(CLASS_OF_BYTE)[batch.inputs])
    assert task.role_names == ("letter", "digit", "space", "punctuation", "other")
