"""A module of the working folder is found, and shadows none of ours."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

import pytest

from pipeline.working_folder import OURS, use_working_folder
from tests.command_line import ROOT, gansearch, refusal
from trainers.errors import ConfigError


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder; our packages are found as an editable installation finds them, not by sys.path."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [path for path in sys.path if path and Path(path).resolve() != ROOT])
    return tmp_path


def test_a_module_of_the_working_folder_is_found(folder: Path) -> None:
    (folder / "found_here.py").write_text("IT = 3")
    use_working_folder()
    assert importlib.import_module("found_here").IT == 3
    assert sys.path[-1] == ""


@pytest.mark.parametrize("name", OURS)
@pytest.mark.parametrize("form", ["{}.py", "{}/__init__.py", "{}/notes.txt"])
def test_what_has_the_name_of_one_of_our_packages_is_refused(folder: Path, name: str, form: str) -> None:
    path = folder / form.format(name)
    path.parent.mkdir(exist_ok=True)
    path.touch()
    with pytest.raises(ConfigError, match=rf"{folder / name}.* has the name of one of gansearch's packages: rename it"):
        use_working_folder()


def test_our_own_folder_may_be_the_working_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr(sys, "path", list(sys.path))
    use_working_folder()


def test_the_command_line_says_so(tmp_path: Path) -> None:
    (tmp_path / "search_spaces.py").touch()
    assert "rename it, or work elsewhere" in refusal(gansearch("config", "validate", cwd=tmp_path), 2)
