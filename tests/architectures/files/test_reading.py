import os
import socket

import pytest

from sma.architectures.files.reading import check_regular, expanded, read_whole


def test_a_file_is_read_up_to_its_limit(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"12345")
    assert read_whole(path, limit=5) == b"12345"
    with pytest.raises(ValueError, match=r"file is larger than 4 bytes"):
        read_whole(path, limit=4)


def test_nothing_is_named(tmp_path):
    (tmp_path / "file").touch()
    for path in (tmp_path / "none", tmp_path / "file" / "none"):
        with pytest.raises(FileNotFoundError, match=r"there is no file .*none; name one"):
            read_whole(path, limit=9)


def test_what_is_not_a_regular_file_is_never_opened(tmp_path, monkeypatch):
    os.mkfifo(tmp_path / "pipe")  # to open it would wait for ever
    for path, kind in ((tmp_path / "pipe", "a pipe"), (tmp_path, "a folder"), ("/dev/zero", "a device")):
        with pytest.raises(ValueError, match=rf"{path} is {kind}, not a file"):
            read_whole(path, limit=9)
    with socket.socket(socket.AF_UNIX) as end:
        monkeypatch.chdir(tmp_path)  # the names of sockets are short
        end.bind("socket")
        with pytest.raises(ValueError, match="is a socket"):
            check_regular(tmp_path / "socket")


def test_what_cannot_be_read_is_named(tmp_path, monkeypatch):
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    with pytest.raises(ValueError, match=r"cannot read .*loop \(Too many levels"):
        read_whole(tmp_path / "loop", limit=9)
    (tmp_path / "secret").touch()
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    with pytest.raises(ValueError, match=r"secret must not be read by this user; change its permissions"):
        read_whole(tmp_path / "secret", limit=9)


def test_home_folders(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert expanded("~/x", field="folder") == tmp_path / "x"
    with pytest.raises(ValueError, match=r"task\.file='~no-such-user/x': .*; name the path without ~"):
        expanded("~no-such-user/x", field="task.file")
