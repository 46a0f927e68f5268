"""The names by which programs import functions."""

from broken_models import Plain

from sma.testing.black_box.importing import importable


def make():
    def made():
        return Plain()

    return made


other_name = make()


class Holder:
    @staticmethod
    def build():
        return Plain()


def test_a_function_of_a_module():
    assert importable(Plain) == ("broken_models", "Plain")
    assert importable(make) == (__name__, "make")


def test_a_function_that_another_one_made():
    assert importable(other_name) == (__name__, "other_name")
    assert importable(make()) is None


def test_a_name_that_holds_something_else(monkeypatch):
    before = make
    monkeypatch.setitem(globals(), "make", other_name)
    assert importable(before) is None


def test_what_no_program_can_import(monkeypatch):
    monkeypatch.setattr(make, "__module__", "__main__")
    assert importable(make) is None
    assert importable(lambda: Plain()) is None
    assert importable(Holder.build) is None
