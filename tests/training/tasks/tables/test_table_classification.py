"""Classification of tables: the rows, the classes, the splits, the cache, and what is wrong with files."""

import json

import pytest
import torch

from sma.architectures import parse_spec
from sma.training.evaluation import evaluate
from sma.training.tasks.running import check_fit
from sma.training.tasks.tables import TableClassificationSpec, table_classification
from tests.training.tables import write_csv, write_jsonl, write_parquet

WRITERS = {".csv": write_csv, ".jsonl": write_jsonl, ".parquet": write_parquet}


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("SMA_CACHE", str(tmp_path / "cache"))


def reviews(n=60):
    return [
        {"text": f'{"good" if i % 3 else "bad"} thing, {i}\n"é"', "mood": "pos" if i % 3 else "neg"}
        for i in range(n)
    ]


def build(path, **fields):
    values = {"train": str(path), "inputs": "text", "label": "mood", **fields}
    return TableClassificationSpec.model_validate(values).build()


def contents(task, split):
    rows = task.splits[split]
    return [(bytes(rows.row(i)).decode(), task.classes[rows.labels[i]]) for i in range(len(rows))]


@pytest.mark.parametrize("ending", WRITERS)
def test_every_row_is_read_once(tmp_path, ending):
    path = tmp_path / f"reviews{ending}"
    WRITERS[ending](path, reviews())
    task = build(path)
    assert task.classes == ["neg", "pos"]
    found = [pair for split in task.splits for pair in contents(task, split)]
    assert sorted(found) == sorted((row["text"], row["mood"]) for row in reviews())
    assert all(len(rows) for rows in task.splits.values())
    assert task.facts["training rows per class"].startswith("pos: ")
    assert "validation and test by the hash of training rows" in task.facts["split"]


def test_a_new_row_moves_no_other_and_equal_rows_share_a_split(tmp_path):
    splits = []
    for rows in (reviews(), [*reviews(70), *reviews(70)]):
        write_csv(tmp_path / "a.csv", rows)
        splits.append(
            {
                split: set(contents(task, split))
                for task in [build(tmp_path / "a.csv")]
                for split in task.splits
            }
        )
    assert all(splits[0][split] <= splits[1][split] for split in splits[0])
    assert not splits[1]["training"] & splits[1]["test"]


def test_explicit_splits(tmp_path):
    for name, n in (("a", 30), ("b", 3), ("c", 6)):
        write_jsonl(tmp_path / f"{name}.jsonl", reviews(n))
    task = build(tmp_path / "a.jsonl", validation=str(tmp_path / "b.jsonl"), test=[str(tmp_path / "c.jsonl")])
    assert [len(rows) for rows in task.splits.values()] == [30, 3, 6]


def test_files_that_are_called_after_splits_are_those(tmp_path):
    for name, n in (("train", 30), ("dev", 3), ("test", 6), ("notes", 1)):
        write_csv(tmp_path / f"{name}.csv", reviews(n))
    (tmp_path / "readme.md").write_text("no table")
    task = build(tmp_path)
    assert [len(rows) for rows in task.splits.values()] == [30, 3, 6]
    assert "validation from dev.csv" in task.facts["split"]


def test_a_column_says_the_split(tmp_path):
    rows = [{**row, "part": ("train", "train", "valid", "test")[i % 4]} for i, row in enumerate(reviews(40))]
    write_csv(tmp_path / "a.csv", rows)
    assert [len(rows) for rows in build(tmp_path / "a.csv", split="part").splits.values()] == [20, 10, 10]
    rows[3]["part"] = "later"
    write_csv(tmp_path / "a.csv", rows)
    with pytest.raises(ValueError, match=r"a.csv, line \d+: 'part' is 'later', not a split"):
        build(tmp_path / "a.csv", split="part")


def test_numbers_are_features(tmp_path):
    rows = [{"a": i, "b": -i / 2, "c": 3, "kind": i % 2} for i in range(40)]
    write_csv(tmp_path / "a.csv", rows)
    task = build(tmp_path / "a.csv", inputs=["a", "b", "c"], label="kind", form="features")
    rows = task.splits["training"]
    assert rows.values.shape == (3 * len(rows), 1)
    first, second, third = rows.row(0)[:, 0]
    assert (second, third) == (-first / 2, 3)
    assert task.classes == ["0", "1"]
    model = parse_spec({"preset": "seqboat", "d_input": 1, "n_classes": 2, "d_model": 8, "n_layers": 1})
    check_fit(model.build(), task)


def test_lists_are_tokens_or_features_and_labels_are_in_numeric_order(tmp_path):
    rows = [{"x": [i % 7] * (1 + i % 4), "y": [[i, 1.5]] * 2, "n": [2, 10, 1][i % 3]} for i in range(60)]
    write_jsonl(tmp_path / "a.jsonl", rows)
    tokens = build(tmp_path / "a.jsonl", inputs="x", label="n", form="tokens")
    assert tokens.classes == ["1", "2", "10"]
    labels = tokens.splits["test"].labels
    assert set(labels.tolist()) <= {0, 1, 2}
    features = build(tmp_path / "a.jsonl", inputs="y", label="n", form="features")
    assert features.splits["training"].values.shape[1] == 2
    i = int(features.splits["test"].row(0)[0, 0])
    assert features.classes[features.splits["test"].labels[0]] == str([2, 10, 1][i % 3])


def test_listed_labels_are_in_their_order(tmp_path):
    write_csv(tmp_path / "a.csv", reviews())
    task = build(tmp_path / "a.csv", labels=["pos", "neg"])
    assert task.classes == ["pos", "neg"]
    assert all(("bad" in text) == (mood == "neg") for text, mood in contents(task, "test"))


def test_the_rows_are_prepared_once(tmp_path, monkeypatch):
    write_csv(tmp_path / "a.csv", reviews())
    first = build(tmp_path / "a.csv")
    monkeypatch.setattr(table_classification, "write_split", None)
    assert build(tmp_path / "a.csv").facts == first.facts
    monkeypatch.undo()


def test_many_parts(tmp_path, monkeypatch):
    write_csv(tmp_path / "a.csv", reviews())
    monkeypatch.setattr(table_classification, "PART", 7)
    found = [
        pair
        for task in [build(tmp_path / "a.csv")]
        for split in task.splits
        for pair in contents(task, split)
    ]
    assert sorted(found) == sorted((row["text"], row["mood"]) for row in reviews())


def test_longer_rows_are_refused_or_cut(tmp_path):
    write_csv(tmp_path / "a.csv", reviews())
    with pytest.raises(
        ValueError, match=r"a.csv, line \d+: 'text' has \d+ elements, more than max_length=10; set"
    ):
        build(tmp_path / "a.csv", max_length=10)
    assert build(tmp_path / "a.csv", max_length=10, longer="cut").splits["training"].lengths.max() == 10


def test_other_files_are_scored_and_predicted_in_their_order(tmp_path):
    write_csv(tmp_path / "a.csv", reviews())
    task = build(tmp_path / "a.csv")
    other = [{"text": "x" * (1 + 7 * i % 5), "mood": "pos"} for i in range(5)]
    write_jsonl(tmp_path / "b.jsonl", other)
    write_jsonl(tmp_path / "c.jsonl", [{"text": row["text"]} for row in other])
    preset = {"preset": "seqboat", "vocab_size": 256, "n_classes": 2, "d_model": 8, "n_layers": 1}
    model = parse_spec(preset).build()
    found = list(task.predictions(model, tmp_path / "c.jsonl", 2))
    assert [row["row"] for row in found] == [1, 2, 3, 4, 5]
    with torch.no_grad():
        for row, cells in zip(found, other, strict=True):
            scores = model.eval()(torch.tensor([list(cells["text"].encode())])).softmax(-1)[0]
            assert list(row["probabilities"].values()) == pytest.approx(scores.tolist(), abs=1e-5)
            assert row["prediction"] == task.classes[int(scores.argmax())]
    share = sum(row["prediction"] == "pos" for row in found) / 5
    assert evaluate(model, task.on_file(tmp_path / "b.jsonl"), "test", batch_size=2).accuracy == share
    json.dumps(found)


GOOD = '{"text": "a", "mood": "pos"}\n{"text": "b", "mood": "neg"}\n' + "".join(
    f'{{"text": "{i} more", "mood": "{"pos" if i % 2 else "neg"}"}}\n' for i in range(60)
)
CSV = "text,mood\n" + "".join(f"text {i},{'pos' if i % 2 else 'neg'}\n" for i in range(60))
WRONG = {
    "not a table": ("a.xlsx", "PK", {}, "a.xlsx is not a table; name a file that ends with .csv, .tsv"),
    "an empty file": ("a.csv", "\n", {}, "lacks the column 'text'"),
    "a missing column": (
        "a.csv",
        CSV.replace("mood", "modo", 1),
        {},
        "a.csv lacks the column 'mood'; did you mean modo",
    ),
    "two columns": (
        "a.csv",
        CSV.replace("text,mood", "mood,mood"),
        {},
        "a.csv has two columns 'mood'; rename one",
    ),
    "a cut line": ("a.csv", f"{CSV}cut off", {}, "a.csv, line 62, has 1 cells, and the first line names 2"),
    "an open quote": ("a.csv", f'{CSV}"cut off', {}, r"a.csv, line \d+, is not well formed \(unexpected end"),
    "not UTF-8": ("a.csv", CSV.encode() + b"\xff\xfe,pos\n", {}, "a.csv, line 62, is not UTF-8 text"),
    "an empty text": (
        "a.csv",
        f"{CSV},pos\n",
        {},
        "a.csv, line 62: 'text' is empty; fill it, or remove the row",
    ),
    "an empty label": ("a.csv", f"{CSV}text,\n", {}, "a.csv, line 62: 'mood' is empty; write a label"),
    "a label that is not listed": (
        "a.csv",
        f"{CSV}x,mixed\n",
        {"labels": ["neg", "pos"]},
        "line 62, has the label 'mixed'",
    ),
    "an empty class": (
        "a.csv",
        CSV,
        {"labels": ["neg", "pos", "mixed"]},
        "no training row has the label 'mixed'",
    ),
    "a single class": ("a.csv", CSV.replace("neg", "pos"), {}, "all training rows have the label 'pos'"),
    "a cut object": ("a.jsonl", GOOD[:-5], {}, "a.jsonl, line 62, is not JSON"),
    "a JSON list": ("a.json", "[\n1]", {}, "a.json, line 1, is not JSON"),
    "a list on each line": (
        "a.json",
        "[1]\n",
        {},
        "a.json, line 1, is not a JSON object; write one object on",
    ),
    "an object without a column": (
        "a.jsonl",
        GOOD + '{"txt": 1}\n',
        {},
        "a.jsonl, line 63, lacks 'text'; did you mean txt",
    ),
    "null": ("a.jsonl", GOOD + '{"text": null, "mood": "pos"}\n', {}, "a.jsonl, line 63: 'text' is empty"),
    "numbers instead of text": (
        "a.jsonl",
        GOOD + '{"text": 3, "mood": "pos"}\n',
        {},
        "line 63: 'text' is 3, not text",
    ),
    "text instead of numbers": (
        "a.jsonl",
        GOOD,
        {"form": "features"},
        "line 2: 'text' is .*, not finite numbers",
    ),
    "negative tokens": (
        "a.jsonl",
        '{"text": [1, -1], "mood": 1}\n',
        {"form": "tokens"},
        "not a list of integers from 0",
    ),
    "few rows": (
        "a.csv",
        "text,mood\nb,pos\nb,neg\n",
        {},
        "none of the training rows falls into the .* split; set",
    ),
    "unlike features": (
        "a.jsonl",
        '{"text": [[1]], "mood": 1}\n{"text": [[1, 2]], "mood": 0}\n' * 20,
        {"form": "features"},
        r"a.jsonl, line 2, has 2 features per element, and rows before it 1",
    ),
    "not Parquet": (
        "a.parquet",
        "PAR1",
        {},
        "a.parquet (is damaged or not Parquet|needs the package pyarrow; install)",
    ),
}


@pytest.mark.parametrize(("name", "content", "fields", "message"), WRONG.values(), ids=WRONG)
def test_what_is_wrong_is_named(tmp_path, name, content, fields, message):
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(ValueError, match=message) as error:
        build(path, **fields)
    assert "\n" not in str(error.value)


def test_a_label_that_was_never_seen_is_named(tmp_path):
    write_csv(tmp_path / "train.csv", reviews())
    write_csv(tmp_path / "test.csv", [*reviews(2), {"text": "x", "mood": "poz"}])
    with pytest.raises(
        ValueError, match=r"test.csv, line \d+, has the label 'poz', which is neither .*did you mean pos"
    ):
        build(tmp_path / "train.csv", test=str(tmp_path / "test.csv"))


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"labels": ["a", "a"]}, "'a' is listed twice"),
        ({"inputs": ["a", "b"]}, "several columns of inputs are numbers, so set form to features"),
        ({"split": "part", "test": "b.csv"}, "leave out validation and test"),
    ],
)
def test_fields_that_do_not_fit(fields, message):
    with pytest.raises(ValueError, match=message):
        build("a.csv", **fields)


def test_a_file_that_is_learned_is_not_held_out(tmp_path):
    write_csv(tmp_path / "a.csv", reviews())
    with pytest.raises(ValueError, match=r"a.csv is in the training and the test split; leave it out of one"):
        build(tmp_path / "*.csv", test=str(tmp_path / "a.csv"))
