"""Lets `module:name` be a module of the working folder, unless that has the name of one of our own packages."""

from __future__ import annotations

import sys
from importlib.machinery import PathFinder
from pathlib import Path

from trainers.errors import ConfigError

OURS = ("pipeline", "search_spaces", "trainers")


def use_working_folder() -> None:
    """Let modules of the working folder be imported, where no other has their name.

    Raises:
        ConfigError: it holds a module with the name of ours, which a worker would import in its place.
    """
    home = Path(__file__).resolve().parents[1]
    for name in OURS:
        found = PathFinder.find_spec(name, [str(Path.cwd()), *sys.path])
        places = [] if found is None else found.submodule_search_locations or [str(found.origin)]
        other = [place for place in places if Path(place).resolve() != home / name]
        if other:
            raise ConfigError(f"{other[0]} has the name of one of gansearch's packages: rename it, or work elsewhere")
    sys.path.append("")
