"""The variables of torchrun, and which process reports a failure."""

import pytest

from sma.training.parallel.torchrun import Place, fails_first, is_main, lost_connection, store


def test_without_variables_there_is_one_process(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK", "TORCHELASTIC_USE_AGENT_STORE"):
        monkeypatch.delenv(name, raising=False)
    assert Place.found() == Place(0, 1, 0, 0)
    assert is_main()
    assert fails_first()
    assert store() is None
    assert not lost_connection(RuntimeError("[gloo/transport/tcp/pair.cc:547] Connection closed by peer"))


def test_the_place_among_several(monkeypatch: pytest.MonkeyPatch) -> None:
    values = {"RANK": "5", "WORLD_SIZE": "8", "LOCAL_RANK": "1", "TORCHELASTIC_RESTART_COUNT": "2"}
    for name, value in values.items():
        monkeypatch.setenv(name, value)
    assert Place.found() == Place(5, 8, 1, 2)
    assert not is_main()
    assert lost_connection(RuntimeError("[../gloo/transport/tcp/pair.cc:547] Connection closed by peer"))
    assert not lost_connection(RuntimeError("shapes do not match"))
    monkeypatch.setenv("WORLD_SIZE", "many")
    with pytest.raises(ValueError, match=r"WORLD_SIZE and LOCAL_RANK must be numbers .* start with torchrun"):
        Place.found()
