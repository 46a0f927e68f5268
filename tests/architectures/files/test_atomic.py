import os
import signal
import time

import pytest

from sma.architectures.files.atomic import remove_leftovers, write_together, write_whole


def killed_writer(path):
    """Fork a process that is killed while it writes; return the temporary folder that it leaves."""

    def write(temporary):
        temporary.write_text("half")
        os.kill(os.getpid(), signal.SIGKILL)

    child = os.fork()
    if child == 0:
        write_whole(path, write)
    os.waitpid(child, 0)
    (left,) = path.parent.glob(f".{path.name}.*.part")
    return left


@pytest.mark.parametrize("content", [b"new", "new", lambda path: path.write_text("new")])
def test_a_file_is_replaced_and_nothing_else_left(tmp_path, content):
    path = tmp_path / "file"
    path.write_text("old")
    write_whole(path, content)
    assert path.read_text() == "new"
    assert list(tmp_path.iterdir()) == [path]


def test_an_error_leaves_everything_as_it_was(tmp_path):
    path = tmp_path / "file"
    path.write_text("old")

    def write(temporary):
        temporary.write_text("half")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_whole(path, write)
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_the_mode_is_that_of_any_new_file(tmp_path):
    (tmp_path / "other").touch()
    write_whole(tmp_path / "file", lambda path: path.chmod(0o600))
    assert len({path.stat().st_mode for path in tmp_path.iterdir()}) == 1


def test_an_error_of_the_system_names_the_file_itself(tmp_path):
    with pytest.raises(FileNotFoundError) as error:
        write_whole(tmp_path / "none" / "file", b"")
    assert error.value.filename == str(tmp_path / "none" / "file")


def test_what_a_killed_writer_left_goes_with_the_next_write(tmp_path):
    path = tmp_path / "file"
    path.write_text("old")
    killed_writer(path)
    assert path.read_text() == "old"
    killed_writer(tmp_path / "other")
    write_whole(path, b"new")
    assert path.read_text() == "new"
    assert len(list(tmp_path.iterdir())) == 2, "what is left of the other file stays"
    remove_leftovers(tmp_path)
    assert list(tmp_path.iterdir()) == [path]


def test_what_a_live_writer_is_writing_stays(tmp_path):
    path = tmp_path / "file"

    def write(temporary):
        remove_leftovers(tmp_path)
        temporary.write_text("new")

    write_whole(path, write)
    assert path.read_text() == "new"


def test_the_leftovers_of_another_machine_stay_for_a_day(tmp_path):
    left = killed_writer(tmp_path / "file")
    host = left.name.rsplit(".", 2)[1].split("-")[0]
    elsewhere = left.rename(left.with_name(left.name.replace(host, "00000000")))
    remove_leftovers(tmp_path)
    assert elsewhere.exists()
    for path in (*elsewhere.iterdir(), elsewhere):
        os.utime(path, (0, time.time() - 100_000))
    remove_leftovers(tmp_path)
    assert not elsewhere.exists()


def test_a_file_that_holds_its_content_already_stays_while_another_is_replaced(tmp_path, monkeypatch):
    first, second = tmp_path / "a", tmp_path / "b"
    write_together({first: "a", second: "b"})

    def fail(source, target):
        assert first.exists()
        raise OSError(5, "Input/output error")

    monkeypatch.setattr("os.replace", fail)
    with pytest.raises(OSError, match="Input/output error"):
        write_together({first: "a", second: "c"})
    assert (first.read_text(), second.read_text()) == ("a", "b")
    write_together({first: "a", second: "b"})  # nothing to do
