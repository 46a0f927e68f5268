import pytest

from sma.architectures import dump_spec, load_spec, parse_spec, seqboat
from sma.architectures.files.yaml import read_yaml

SIZES = {"d_model": 8, "n_layers": 2, "vocab_size": 11}


def test_what_is_written_is_read(tmp_path):
    path = tmp_path / "spec.yaml"
    path.write_text(dump_spec(seqboat(**SIZES)))
    assert load_spec(path) == seqboat(**SIZES)


def test_a_preset_is_read(tmp_path):
    path = tmp_path / "spec.yaml"
    path.write_text("{preset: seqboat, d_model: 8, n_layers: 2, vocab_size: 11}")
    assert load_spec(path) == seqboat(**SIZES)


def test_a_wrong_kind_is_named():
    with pytest.raises(ValueError, match=r"(?m)^kind\n  unknown kind 'sequence_modle' .*sequence_model"):
        parse_spec({"kind": "sequence_modle"})
    with pytest.raises(ValueError, match=r"(?m)^kind\n  must be the name of a kind"):
        parse_spec({"kind": ["sequence_model"]})
    with pytest.raises(ValueError, match="a spec is a mapping with a `kind`, got list"):
        parse_spec([])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"a: [", "not valid YAML"),
        (b"just text", "holds str instead of a mapping"),
        (b"- 1\n- 2", "holds list instead of a mapping"),
        (b"", "holds nothing instead of a mapping"),
        (bytes(range(256)), "not valid YAML"),
        (
            b"d_model: 8\nblocks:\n- {kind: residual, kind: stack}",
            r"field 'kind' is given twice.* line 3, column 20",
        ),
        (b"d_model: " + b"9" * 5000, "not valid YAML"),
        (b"[" * 100_000, "nested too deep"),
        (b"a: !!bool maybe", "not valid YAML"),
        (b"a: &a {x: 1}\nb: {<<: *a, <<: *a}", r"twice; merge several by `<<: \[\*a, \*b\]`"),
        (b"{a: " * 3000 + b"1" + b"}" * 3000, "nested too deep"),
        (b"!!python/object/apply:os.getcwd []", "not valid YAML"),
    ],
)
def test_unreadable_files_are_named(tmp_path, content, message):
    path = tmp_path / "spec.yaml"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=rf"spec\.yaml.*{message}") as error:
        read_yaml(path)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "not valid YAML or JSON"),
        ('{"a": {"b": 1, "b": 2}}', "field 'b' is given twice"),
        ("3", "holds int"),
    ],
)
def test_json_is_read_alike(tmp_path, content, message):
    path = tmp_path / "spec.json"
    path.write_text('{"a": [1, null, {"b": true}]}')
    assert read_yaml(path) == {"a": [1, None, {"b": True}]}
    path.write_text(content)
    with pytest.raises(ValueError, match=rf"spec\.json.*{message}"):
        read_yaml(path)


def test_a_folder_and_nothing_are_named(tmp_path):
    with pytest.raises(ValueError, match=r" is a folder, not a file; name a file"):
        read_yaml(tmp_path)
    with pytest.raises(FileNotFoundError, match=r"no file .*nowhere\.yaml; name one that exists"):
        read_yaml(tmp_path / "nowhere.yaml")


def test_what_is_too_large_is_not_read(tmp_path):
    for name, limit in (("spec.yaml", "1,048,576"), ("spec.json", "16,777,216")):
        with (tmp_path / name).open("wb") as file:
            file.truncate(2**40)
        with pytest.raises(ValueError, match=rf"{name} is larger than {limit} bytes"):
            read_yaml(tmp_path / name)


def test_a_merged_field_may_be_overridden(tmp_path):
    path = tmp_path / "spec.yaml"
    path.write_text("a: &a {x: 1, y: 2}\nb: &b {<<: *a, y: 3}\nc: {<<: [*a, *b], x: 4}")
    assert read_yaml(path) == {"a": {"x": 1, "y": 2}, "b": {"x": 1, "y": 3}, "c": {"x": 4, "y": 2}}
