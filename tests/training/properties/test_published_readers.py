"""Published data sets are read in each of their layouts, and what is missing or damaged is named."""

import os
import pickle
import zipfile

import numpy as np
import pytest
import torch
from published_folders import (
    CIFAR_NAMES,
    cifar_records,
    write_cifar_binary,
    write_cifar_python,
    write_fairseq,
    write_listops,
    write_pairs,
    write_pathfinder,
    write_prepared_pixels,
    write_reviews,
    write_speech,
    write_wave,
)

from sma.training.generators.listops import TOKENS
from sma.training.tasks.published import (
    HundredMillionBytesSpec,
    LRAImageSpec,
    LRAListOpsSpec,
    LRAPathfinderSpec,
    LRARetrievalSpec,
    LRATextSpec,
    SpeechCommandsSpec,
    characters,
)
from sma.training.tasks.published.speech import WORDS


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("SMA_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def root(tmp_path):
    folder = tmp_path / "data"
    folder.mkdir()
    return folder


def sizes(task):
    return [len(rows) for rows in task.splits.values()]


def rows_and_labels(task, split):
    rows = task.splits[split]
    return [rows.row(i).tolist() for i in range(len(rows))], rows.labels.tolist()


def prepared_rows(*n):
    """Rows of 3, 4, ... tokens and labels 0, 1, ... for train, valid and test, in pairs."""
    return {
        split: [(list(range(4, 7 + i)), list(range(5, 9 + i)), i % 2) for i in range(count)]
        for split, count in zip(("train", "valid", "test"), n, strict=True)
    }


def test_listops(root):
    write_listops(root)
    task = LRAListOpsSpec(folder=str(root)).build()
    assert sizes(task) == [4, 2, 3]
    rows, labels = rows_and_labels(task, "test")
    assert ["".join(task.names[i] for i in row) for row in rows] == [
        f"[MAX {i} [MIN 7 9 ] ] " for i in range(3)
    ]
    assert labels == [7, 7, 7]
    roles = task.splits["test"].batch([0]).roles[0].tolist()
    assert [task.role_names[role][0] for role in roles] == list("ododdbb")


@pytest.mark.parametrize("spec", [LRAListOpsSpec, LRATextSpec])
def test_fairseq_rows(root, spec):
    write_fairseq(
        root,
        {name: [(first, label) for first, _, label in rows] for name, rows in prepared_rows(3, 2, 4).items()},
    )
    task = spec(folder=str(root), max_length=5).build()
    assert sizes(task) == [3, 2, 4]
    rows, labels = rows_and_labels(task, "test")
    assert rows == [[4, 5, 6, 2], [4, 5, 6, 7, 2], [4, 5, 6, 7, 8], [4, 5, 6, 7, 8]]
    assert labels == [0, 1, 0, 1]
    assert task.splits["test"].batch([0]).roles is None  # what the tokens are is not known
    assert task.role_names == ()


def test_reviews(root):
    write_reviews(root)
    task = LRATextSpec(folder=str(root), max_length=11).build()
    assert sizes(task) == [36, 4, 10]
    rows, labels = rows_and_labels(task, "validation")
    assert [bytes(row) for row in rows] == [b"neg train 0", b"neg train 1", b"pos train 0", b"pos train 1"]
    roles = task.splits["validation"].batch([0]).roles[0].tolist()
    assert [task.role_names[role][0] for role in roles] == list("lllslllllsd")
    assert labels == [0, 0, 1, 1]


def test_pairs(root):
    write_pairs(root)
    task = LRARetrievalSpec(folder=str(root)).build()
    assert sizes(task) == [6, 2, 3]
    pairs = task.splits["test"]
    assert [bytes(pairs.first.row(i)) for i in range(3)] == [f'first "{i}"'.encode() for i in range(3)]
    assert [bytes(pairs.second.row(i)) for i in range(3)] == [b"second .", b"second x.", b"second xx."]
    assert pairs.labels.tolist() == [0, 1, 0]


def test_fairseq_pairs(root):
    write_fairseq(root, prepared_rows(3, 2, 2), sources=("src-bin", "src1-bin"))
    pairs = LRARetrievalSpec(folder=str(root)).build().splits["test"]
    assert pairs.first.row(1).tolist() == [4, 5, 6, 7, 2]
    assert pairs.second.row(1).tolist() == [5, 6, 7, 8, 9, 2]


def test_a_model_reads_pairs(root):
    from sma.architectures import parse_spec
    from sma.training.tasks.running import check_fit

    write_pairs(root)
    task = LRARetrievalSpec(folder=str(root)).build()
    model = parse_spec(
        {
            "d_model": 8,
            "embedding": {"kind": "tokens", "vocab_size": 256},
            "blocks": [{"kind": "residual", "branches": [{"kind": "linear"}]}],
            "head": {"kind": "classifier", "n_classes": 2, "n_documents": 2},
        }
    ).build()
    check_fit(model, task)
    batch = task.training_batch(3, torch.Generator().manual_seed(0))
    assert batch.n_elements >= batch.n_real > 0
    assert batch.to(next(model.parameters())).scores(model).shape == (3, 2)


@pytest.mark.parametrize("write", [write_cifar_binary, write_cifar_python])
def test_images(root, write):
    from PIL import Image

    write(root)
    task = LRAImageSpec(folder=str(root)).build()
    assert sizes(task) == [36, 4, 8]
    labels, colors = cifar_records(8, CIFAR_NAMES.index("test_batch"))
    assert task.splits["test"].labels.tolist() == labels.tolist()
    grey = np.asarray(Image.fromarray(colors[3].reshape(3, 32, 32).transpose(1, 2, 0)).convert("L"))
    assert task.splits["test"].row(3).reshape(32, 32).tolist() == grey.tolist()


def test_a_pickle_that_runs_code_is_refused(root):
    write_cifar_python(root)
    path = root / "cifar-10-batches-py" / "data_batch_3"
    path.write_bytes(pickle.dumps({b"labels": os.system}))
    with pytest.raises(ValueError, match=r"data_batch_3 is damaged \(it refers to .*system\)"):
        LRAImageSpec(folder=str(root)).build()


@pytest.mark.parametrize(
    ("spec", "side", "n_classes"), [(LRAImageSpec, 32, 10), (LRAPathfinderSpec, 32, 2)], ids=["image", "path"]
)
def test_prepared_pixels(root, spec, side, n_classes):
    write_prepared_pixels(root, side, n_classes)
    task = spec(folder=str(root)).build()
    assert sizes(task) == [5, 3, 4]
    expected = [int(word) for word in (root / "input/test.src").read_text().splitlines()[2].split()]
    assert task.splits["test"].row(2).ravel().tolist() == expected


def test_pathfinder(root):
    write_pathfinder(root)
    task = LRAPathfinderSpec(folder=str(root)).build()
    assert sizes(task) == [24, 3, 3]
    order = torch.randperm(30, generator=torch.Generator().manual_seed(42)).tolist()
    shown = [int(task.splits["test"].row(i)[0, 0]) for i in range(3)]
    assert shown == order[-3:]
    assert task.splits["test"].labels.tolist() == [i % 2 for i in shown]


def test_speech(root):
    write_speech(root, WORDS)
    task = SpeechCommandsSpec(folder=str(root)).build()
    assert sizes(task) == [70, 15, 15]
    values = np.concatenate([rows.values for rows in task.splits.values()])
    assert abs(task.splits["training"].values.mean()) < 1e-3
    assert abs(task.splits["training"].values.std() - 1) < 1e-2
    assert len(np.unique(values)) == 100  # every recording once


def test_prepared_speech(root):
    folder = root / "processed_data/raw"
    folder.mkdir(parents=True)
    for split, n in (("train", 4), ("val", 2), ("test", 3)):
        torch.save(
            torch.arange(float(n)).view(n, 1, 1).expand(n, 16_000, 1).contiguous(), folder / f"{split}_X.pt"
        )
        torch.save(torch.arange(n) % 10, folder / f"{split}_y.pt")
    task = SpeechCommandsSpec(folder=str(root)).build()
    assert sizes(task) == [4, 2, 3]
    assert task.splits["test"].row(2)[0, 0] == 2


@pytest.mark.parametrize("packed", [False, True])
def test_hundred_million_bytes(root, monkeypatch, packed):
    monkeypatch.setattr(characters, "SIZE", 1000)
    monkeypatch.setattr(characters, "HELD_OUT", 50)
    content = bytes(i % 251 for i in range(1000))
    if packed:
        with zipfile.ZipFile(root / "text8.zip", "w") as archive:
            archive.writestr("text8", content)
    else:
        (root / "text8").write_bytes(content)
    task = HundredMillionBytesSpec(folder=str(root), name="text8", length=16).build()
    corpus = task.corpus
    assert [file.content for (file,) in (corpus.training, corpus.validation, corpus.test)] == [
        content[:900],
        content[900:950],
        content[950:],
    ]
    assert "90, 5 and 5" in task.facts["split"]


def spoil(path, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


WRONG = {
    "a missing file": (
        LRAListOpsSpec,
        write_listops,
        lambda root: (root / "basic_val.tsv").unlink(),
        r"needs basic_train.tsv.*missing: basic_val.tsv",
    ),
    "a wrong token": (
        LRAListOpsSpec,
        write_listops,
        lambda root: spoil(root / "basic_val.tsv", b"Source\tTarget\n[MAX 1 12 ]\t1\n"),
        "line 2 of .*basic_val.tsv",
    ),
    "no header": (
        LRAListOpsSpec,
        write_listops,
        lambda root: spoil(root / "basic_val.tsv", b"[MAX 1 2 ]\t1\n"),
        "columns Source and Target",
    ),
    "an empty review": (
        LRATextSpec,
        write_reviews,
        lambda root: spoil(root / "test/pos/03_1.txt", b""),
        "03_1.txt is empty",
    ),
    "an unknown label": (
        LRARetrievalSpec,
        write_pairs,
        lambda root: spoil(root / "new_aan_pairs.eval.tsv", b"2.0\ta\tb\tx\ty\n"),
        "row 1 of .*eval.tsv",
    ),
    "half a record": (
        LRAImageSpec,
        write_cifar_binary,
        lambda root: spoil(root / "cifar-10-batches-bin/data_batch_2.bin", b"\0" * 3000),
        "data_batch_2.bin is damaged",
    ),
    "an image of another size": (
        LRAPathfinderSpec,
        lambda root: write_prepared_pixels(root, 32, 2),
        lambda root: spoil(root / "input/valid.src", b"1 2 3\n"),
        "line 1 of .*valid.src is not 32 x 32 pixels",
    ),
    "fewer labels": (
        LRAPathfinderSpec,
        lambda root: write_prepared_pixels(root, 32, 2),
        lambda root: spoil(root / "label/train.label", b"0\n1\n0\n1\n0\n1\n"),
        "6 labels for 5 images",
    ),
    "a damaged png": (
        LRAPathfinderSpec,
        write_pathfinder,
        lambda root: spoil(root / "pathfinder32/curv_contour_length_14/imgs/0/sample_4.png", b"\x89PNG"),
        "sample_4.png is missing or not an image",
    ),
    "another rate": (
        SpeechCommandsSpec,
        lambda root: write_speech(root, WORDS, n=7),
        lambda root: write_wave(root / "up/3_nohash_0.wav", np.zeros(16_000), rate=8_000),
        "3_nohash_0.wav has 1 channels of 16 bits at 8000 Hz",
    ),
    "too few recordings": (
        SpeechCommandsSpec,
        lambda root: write_speech(root, WORDS, n=3),
        lambda root: None,
        "yes holds 3 recordings",
    ),
    "no zip": (
        HundredMillionBytesSpec,
        lambda root: None,
        lambda root: None,
        "neither enwik8 nor enwik8.zip",
    ),
    "a damaged zip": (
        HundredMillionBytesSpec,
        lambda root: None,
        lambda root: spoil(root / "enwik8.zip", b"PK"),
        "enwik8.zip is damaged",
    ),
    "too few bytes": (
        HundredMillionBytesSpec,
        lambda root: None,
        lambda root: spoil(root / "enwik8", b"abc"),
        "3 bytes instead of 100,000,000",
    ),
}


@pytest.mark.parametrize(("spec", "write", "damage", "told"), WRONG.values(), ids=WRONG)
def test_what_is_wrong_is_named(root, spec, write, damage, told):
    write(root)
    damage(root)
    with pytest.raises(ValueError, match=told):
        spec(folder=str(root)).build()


@pytest.mark.parametrize("end", ["idx", "bin"])
def test_damaged_fairseq_files(root, end):
    write_fairseq(
        root,
        {name: [(first, label) for first, _, label in rows] for name, rows in prepared_rows(3, 2, 4).items()},
    )
    path = root / f"src-bin/valid.{end}"
    path.write_bytes(path.read_bytes()[:-2])
    with pytest.raises(ValueError, match=r"valid\.(idx|bin)"):
        LRATextSpec(folder=str(root)).build()


def test_a_folder_that_does_not_exist(root):
    with pytest.raises(ValueError, match=r"task.folder='.*nowhere' is not a folder"):
        LRATextSpec(folder=str(root / "nowhere")).build()


def test_changed_data_are_prepared_anew(root):
    write_listops(root)
    first = LRAListOpsSpec(folder=str(root)).build()
    (root / "basic_test.tsv").write_text("Source\tTarget\n[SM 1 2 ]\t3\n")
    again = LRAListOpsSpec(folder=str(root)).build()
    assert sizes(first) == [4, 2, 3]
    assert sizes(again) == [4, 2, 1]
    assert len(TOKENS) == len(again.names)
