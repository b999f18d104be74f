"""Which configurations to try: one short declaration a space, with the source of every range."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from functools import cache
from typing import Any

from search_spaces.ali_grid25 import ALI_GRID25
from search_spaces.classic import CLASSIC
from search_spaces.declarations import (
    Choice,
    Float,
    Space,
    Union,
    branch_of,
    check,
    defaults,
    probes,
    resolve,
)
from search_spaces.ebgan_grid import EBGAN_GRID
from search_spaces.gan import GAN
from search_spaces.landscape import LANDSCAPE
from search_spaces.lucic import LUCIC
from search_spaces.narrowing import ContradictionError, narrow
from search_spaces.notes import NOTES
from search_spaces.wgan import WGAN
from search_spaces.wgan_gp import WGAN_GP
from trainers.errors import ConfigError, nearest
from trainers.registry import imported, installed, load_own

__all__ = [
    "Choice",
    "ContradictionError",
    "Float",
    "Space",
    "Union",
    "branch_of",
    "check",
    "defaults",
    "find_space",
    "fitting",
    "known_spaces",
    "narrow",
    "probes",
    "resolve",
]

SHIPPED: tuple[Space | Union, ...] = (
    CLASSIC,
    GAN,
    WGAN,
    WGAN_GP,
    NOTES,
    *LUCIC,
    LANDSCAPE,
    EBGAN_GRID,
    ALI_GRID25,
)


@cache
def _rows() -> dict[str, Space | Union]:
    rows = {space.name: space for space in SHIPPED}
    for what, point in installed("space", list(rows)):
        rows[point.name] = _checked(point.value, imported(what, point.load))
    return rows


def known_spaces() -> tuple[Space | Union, ...]:
    """Return the named spaces: the shipped ones, then those of installed packages."""
    return tuple(_rows().values())


def fitting(overrides: Mapping[str, Any]) -> list[str]:
    """Return the names of the known spaces of which the user's values, by dotted key, leave something."""
    names = []
    for space in known_spaces():
        with suppress(ContradictionError):
            names.append(narrow(space, overrides).name)
    return names


def find_space(name: str) -> Space | Union:
    """Return the space of that name.

    Args:
        name: a shipped name, an entry point's name in the group `gansearch.space`, or `module:attribute`.

    Raises:
        ConfigError: nothing has that name, or it is no space; the message suggests the nearest one.
    """
    if ":" in name:
        return _checked(name, load_own("space", name))
    rows = _rows()
    if name not in rows:
        names = ", ".join(sorted(rows))
        raise ConfigError(f"unknown space {name!r}{nearest(name, rows)} (known: {names}, or module:name)")
    return rows[name]


def _checked(name: str, found: Any) -> Space | Union:
    if not isinstance(found, Space | Union):
        raise ConfigError(f"{name!r} must be a Space or a Union, but is {found!r}")
    return found
