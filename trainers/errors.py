"""One exception tree: what can go wrong, and the exit code that says so.

GansearchError
├── UserError          2  the user wrote something that cannot be meant
│   ├── ConfigError    2  a key, a value or a file
│   │   └── NotImportable  2  a module that such a value names
│   └── DataError      2  a data set that is not there
├── NotGoodEnough      3  finished, but below what was asked for
├── Unreachable        4  something needed is out of reach before training starts
├── StateConflict      5  the study is in use, or is not the one that was asked for
└── IntegrityError     6  a stored object is not what was stored
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import ClassVar


class GansearchError(Exception):
    """Base of all errors that this software raises on purpose; its text is meant for a person."""

    exit_code: ClassVar[int] = 1


class UserError(GansearchError):
    """The user asked for something that cannot be done; the text names the mend."""

    exit_code = 2


class ConfigError(UserError):
    """A configuration names an unknown key, or holds a value that breaks a rule."""


class NotImportable(ConfigError):
    """Something that is named as module:name, or an installed package's, cannot be imported."""


class DataError(UserError):
    """A data set cannot be read; the text says which file belongs where."""


class NotGoodEnough(GansearchError):
    """The work is done, but its result is below what was asked for."""

    exit_code = 3


class Unreachable(GansearchError):
    """Ray, MLflow or the store cannot be reached, seen before any training starts.

    Args:
        for_good: whether no waiting can mend it: it refuses us, or cannot be used as it is.
    """

    exit_code = 4

    def __init__(self, *args: object, for_good: bool = False) -> None:
        super().__init__(*args)
        self.for_good = for_good


class StateConflict(GansearchError):
    """The study is held by another driver, or differs from what it was started with."""

    exit_code = 5


class IntegrityError(GansearchError):
    """A stored object does not have the content that its digest promises."""

    exit_code = 6


def nearest(name: str, known: Iterable[str]) -> str:
    """Return `; did you mean 'x'?` for the known name nearest to `name`, or an empty string."""
    close = difflib.get_close_matches(name, list(known), n=1, cutoff=0.5)
    return f"; did you mean {close[0]!r}?" if close else ""
