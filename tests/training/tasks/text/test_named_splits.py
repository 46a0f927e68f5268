"""Splits by the names of files, and splits that are named one by one."""

import pytest

from sma.training.tasks.text.corpus import TextFile
from sma.training.tasks.text.named_splits import own_splits, split_of
from sma.training.tasks.text.text_files import TextFilesSpec

SPLITS = ("training", "validation", "test")


@pytest.fixture
def root(tmp_path):
    def make(*names, lines=20):
        for name in names:
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text("".join(f"{name} {i}\n" for i in range(lines)))
        return tmp_path

    return make


def build(**fields):
    return TextFilesSpec.model_validate({"length": 8, "evaluation_length": 32, **fields}).build()


def paths(task):
    return {split: sorted(file.path for file in getattr(task.corpus, split)) for split in SPLITS}


@pytest.mark.parametrize(
    ("name", "split"),
    [
        ("train.txt", "training"),
        ("TRAIN", "training"),
        ("training.jsonl", "training"),
        ("wiki.train.tokens", "training"),
        ("train-00000-of-00002.txt", "training"),
        ("train/a.txt", "training"),
        ("valid.raw", "validation"),
        ("validation.md", "validation"),
        ("val.txt", "validation"),
        ("dev.txt", "validation"),
        ("deep/er/test.txt", "test"),
        ("test_utils.py", None),
        ("contest.txt", None),
        ("a/b/train/c.txt", None),
        ("trainer.py", None),
    ],
)
def test_names(name, split):
    assert split_of(name) == split


def test_files_that_are_called_after_splits_are_those(root):
    folder = root("train.txt", "valid.txt", "test.md", *(f"note{i}.txt" for i in range(30)))
    task = build(folder=str(folder))
    assert paths(task) == {"training": ["train.txt"], "validation": ["valid.txt"], "test": ["test.md"]}
    assert "training from train.txt; validation from valid.txt; test from test.md" in task.facts["split"]
    assert "30 other files are not used" in task.facts["split"]


def test_folders_that_are_called_after_splits_are_those(root):
    folder = root("train/a.txt", "train/b.txt", "val/a.txt", "test/a.txt")
    task = build(folder=str(folder))
    assert paths(task) == {
        "training": ["train/a.txt", "train/b.txt"],
        "validation": ["val/a.txt"],
        "test": ["test/a.txt"],
    }
    assert "training from train/a.txt and 1 more" in task.facts["split"]


@pytest.mark.parametrize("named", [("train.txt", "test.txt"), ("train.txt",)])
def test_missing_splits_are_cut_off_the_training_files(root, named):
    folder = root(*named)
    task = build(folder=str(folder), validation_share=0.1, test_share=0.2)
    assert (
        b"".join(f.content for f in task.corpus.files if f.path == "train.txt")
        == (folder / "train.txt").read_bytes()
    )
    assert set(paths(task)["training"]) == {"train.txt"}
    assert paths(task)["test"] == list(named[-1:])
    assert task.corpus.training[0].content.endswith(b"\n")
    assert 0.6 < task.corpus.training[0].size / (folder / "train.txt").stat().st_size <= 0.95
    assert "of each training file the last 10 % for validation" in task.facts["split"]


def test_a_held_out_file_on_top_is_no_training_data(root):
    task = build(folder=str(root("test.txt", *(f"{i}.txt" for i in range(10)))))
    assert paths(task)["test"] == ["test.txt"]
    assert "test.txt" not in paths(task)["training"]
    assert len(paths(task)["training"]) == 10


def test_source_with_a_folder_of_tests_is_split_by_hash(root):
    files = [TextFile(f"package/{name}", b"x") for name in ("a.py", "test/a.py", "tests/test_a.py")]
    assert own_splits(files, (0.1, 0.1)) is None


def test_a_small_training_file_is_never_held_out(root):
    task = build(folder=str(root("train.py", *(f"{i}.py" for i in range(10)))))
    assert "train.py" in paths(task)["training"]
    assert len(task.corpus.files) == 11
    assert "training from train.py; the other files by the hash of their paths" in task.facts["split"]


def test_beside_a_large_training_file_others_are_not_used(root):
    folder = root("readme.md", "license", "notes.txt")
    root("train.txt", lines=500)
    task = build(folder=str(folder))
    assert {name for names in paths(task).values() for name in names} == {"train.txt"}
    assert "3 other files are not used; of each training file the last" in task.facts["split"]


def test_held_out_files_alone_are_refused(root):
    with pytest.raises(ValueError, match=r"all files are held out by their names .*; add one called train"):
        build(folder=str(root("valid.txt", "test-1.txt", "test-2.txt")))


def test_explicit_splits_take_files_folders_and_globs(root):
    folder = root("a.txt", "b.txt", "more/c.txt", "held/d1.md", "held/d2.md", "e.txt")
    task = build(
        train=[str(folder / "a.txt"), str(folder / "more")],
        validation=str(folder / "held/*.md"),
        test=str(folder / "e.txt"),
    )
    assert {
        split: [name.removeprefix(f"{folder}/") for name in names] for split, names in paths(task).items()
    } == {
        "training": ["a.txt", "more/c.txt"],
        "validation": ["held/d1.md", "held/d2.md"],
        "test": ["e.txt"],
    }
    assert "task.train" in task.facts["split"]


def test_a_list_of_files_is_split_by_hash(root):
    folder = root(*"abcdef")
    task = build(files=[str(folder / name) for name in "abcde"])
    assert len(task.corpus.files) == 5
    assert all(paths(task).values())


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({}, "by one of folder, files and train; nothing is given"),
        ({"folder": "x", "train": "y"}, "folder and train is given"),
        ({"folder": "x", "test": "y"}, "name the training files by train"),
        ({"train": "nowhere.txt"}, "task.train: 'nowhere.txt' is neither a file, a folder nor a glob"),
        ({"train": "{root}/a.txt", "test": "{root}/empty.txt"}, "empty.txt' holds no text"),
        ({"train": "{root}/*.txt", "test": "{root}/a.txt"}, "a.txt is in the training and the test split"),
        ({"train": "{root}/short.md"}, "too short to hold out a validation split"),
        ({"files": ["{root}/a.txt"]}, "only 1 with text was found; add files, or name them by task.train"),
    ],
)
def test_errors_say_what_to_do(root, fields, message):
    folder = root("a.txt", "b.txt")
    (folder / "empty.txt").touch()
    (folder / "short.md").write_text("x")

    def filled(value):
        return (
            [filled(each) for each in value]
            if isinstance(value, list)
            else value.replace("{root}", str(folder))
        )

    with pytest.raises(ValueError, match=message):
        build(**{name: filled(value) for name, value in fields.items()})
