"""Data of installed packages: found, or named with what to install."""

import pytest

from sma.training.tasks.standins.installed import debian_path, python_package


def test_a_path_that_is_there(tmp_path):
    assert debian_path(tmp_path, "some-package") == tmp_path


def test_a_missing_path_says_what_to_install(tmp_path):
    with pytest.raises(ValueError, match=r"gone is missing; .*: apt-get install some-package$"):
        debian_path(tmp_path / "gone", "some-package")


def test_a_package_is_found_and_not_imported():
    folder, version = python_package("typing-inspection")
    assert (folder / "__init__.py").is_file()
    assert version.split(".")[0].isdigit()


@pytest.mark.parametrize("name", ["no-such-package", "sma"])  # the import name alone is not a distribution
def test_a_missing_package_says_what_to_install(name):
    with pytest.raises(ValueError, match=f"package {name} is missing; install it: pip install {name}$"):
        python_package(name)
