"""Variants by name, by entry point, or as module:name.

A variant is a frozen parameter model, which imports no torch, and a function `make(params)` that is loaded only where a
training needs it. What `make` returns depends on the kind:

objective   trainers.objectives.Objective: the losses of D and G as functions of logits
penalty     trainers.penalties.Penalty: a term of D's loss from a batch
network     trainers.networks.Networks: builders of a generator and a discriminator
data        trainers.data.Dataset: fixed train and held-out parts
detector    trainers.stability.Detector: a window of signals to an event or nothing
metric      trainers.evaluation.Metric: a score of generated samples against held-out ones
"""

from __future__ import annotations

import importlib
import importlib.metadata
import sys
import traceback
from collections.abc import Callable, Collection
from contextlib import redirect_stdout
from dataclasses import dataclass
from functools import cache
from typing import Annotated, Any, Literal, get_args

from pydantic import AfterValidator, BaseModel, ConfigDict

from trainers.errors import ConfigError, NotImportable, nearest
from trainers.shipped import SHIPPED, Samples

Kind = Literal["objective", "penalty", "network", "data", "detector", "metric"]
KINDS: tuple[Kind, ...] = get_args(Kind)


Text = Annotated[str, AfterValidator(lambda text: text.encode("utf-8", "backslashreplace").decode())]
"""Words from elsewhere, such as an exception's: names of files may have bytes that are no UTF-8, and no JSON."""


class Part(BaseModel):
    """A frozen, validated piece of a configuration that round-trips through JSON."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", allow_inf_nan=False, populate_by_name=True, serialize_by_alias=True
    )


class Params(Part):
    """Base of every variant's parameters: `name` says which variant they belong to."""

    name: str


@dataclass(frozen=True, kw_only=True)
class Variant:
    """A row of the registry: `params` and `make` are objects, or 'module:attribute' to be loaded when needed.

    `samples` is what a data set holds, or what a metric can score; None is not told, and then a worker finds out.
    """

    kind: Kind
    name: str
    summary: str
    params: type[Params] | str = Params
    make: Callable[[Any], Any] | str
    samples: Samples | None = None

    def load_params(self) -> type[Params]:
        """Return the parameter model; imports no torch for the variants that are shipped.

        Raises:
            ConfigError: it is written as module:attribute, and cannot be imported; or it is no model of parameters.
        """
        what = f"the parameters of {self.kind}"
        loaded = load_own(what, self.params) if isinstance(self.params, str) else self.params
        if not isinstance(loaded, type) or not issubclass(loaded, Params):
            raise ConfigError(
                f"{what} {self.name!r} must be a subclass of trainers.registry.Params, but are {loaded!r}"
            )
        return loaded

    def load_make(self) -> Callable[[Any], Any]:
        """Return the function that turns the parameters into the thing itself; imports torch."""
        loaded: Callable[[Any], Any] = _load(self.make) if isinstance(self.make, str) else self.make
        return loaded


def _shipped(kind: Kind) -> dict[str, Variant]:
    return {
        row.name: Variant(
            kind=kind,
            name=row.name,
            summary=row.summary,
            make=row.make,
            params=row.params or Params,
            samples=row.samples,
        )
        for row in SHIPPED[kind]
    }


@cache
def _rows(kind: Kind) -> dict[str, Variant]:
    shipped = _shipped(kind)
    rows = dict(shipped)
    for what, point in installed(kind, shipped):
        rows[point.name] = found = _checked(kind, point.value, imported(what, point.load))
        if found.name != point.name:
            raise ConfigError(f"{what} must have the name that its Variant has, {found.name!r}")
    return rows


def installed(kind: str, shipped: Collection[str]) -> list[tuple[str, importlib.metadata.EntryPoint]]:
    """Return the entry points of a kind, each with what it is called in messages.

    Raises:
        ConfigError: two have one name, or one has a shipped one's: which of them is meant would follow from sys.path.
    """
    taken = dict.fromkeys(shipped, "one that is shipped")
    found = []
    for point in importlib.metadata.entry_points(group=f"gansearch.{kind}"):
        what = f"{kind} {point.name!r} of an installed package ({point.value})"
        if point.name in taken and taken[point.name] != what:
            raise ConfigError(f"{what} has the name of {taken[point.name]}: uninstall the package, or rename it there")
        if point.name not in taken:
            found.append((what, point))
        taken[point.name] = what
    return found


def known(kind: Kind) -> tuple[Variant, ...]:
    """Return the named variants of a kind: the shipped ones, then those of installed packages."""
    return tuple(_rows(kind).values())


def find(kind: Kind, name: str) -> Variant:
    """Return the variant of that name.

    Args:
        kind: what is looked for.
        name: a shipped name, an entry point's name, or `module:attribute` of a Variant of the user's own.

    Raises:
        ConfigError: nothing has that name; the message suggests the nearest one.
    """
    if ":" in name:
        return _own(kind, name)
    rows = _rows(kind)
    if name not in rows:
        names = ", ".join(sorted(rows))
        raise ConfigError(f"unknown {kind} {name!r}{nearest(name, rows)} (known: {names}, or module:name)")
    return rows[name]


def _own(kind: Kind, name: str) -> Variant:
    found = _checked(kind, name, load_own(kind, name))
    params = found.load_params()
    if params.model_fields["name"].annotation is not str:
        mend = f"leave `name` out of {params.__name__}, or make it a str"
        raise ConfigError(f"{kind} {name!r} has more than one name: {mend}")
    return found


def _checked(kind: Kind, name: str, found: Any) -> Variant:
    if not isinstance(found, Variant) or found.kind != kind:
        raise ConfigError(f"{name!r} must be a Variant of kind {kind!r}, but is {found!r}")
    return found


def article(kind: str) -> str:
    """Return a kind as a sentence has it: `a penalty`, `an objective`."""
    return {"data": "a data set", "objective": "an objective"}.get(kind, f"a {kind}")


# -- what others have written ------------------------------------------------------------------------------------------


def load_own(what: str, name: str) -> Any:
    """Import what a user names as `module:attribute`.

    Args:
        what: the name stands for, for messages.
        name: of the thing.

    Raises:
        ConfigError: the name is of another form.
        NotImportable: its module cannot be imported, for whatever reason; the message says which, and in which line.
    """
    if module_of(name) is None:
        raise ConfigError(f"{what} {name!r} must be module:name, such as my_package.variants:MINE")
    return imported(f"{what} {name!r}", lambda: _load(name))


def module_of(name: str) -> str | None:
    """Return the top-level module of what is written as `module:attribute`, None of any other text."""
    parts = name.replace(":", ".").split(".")
    return parts[0] if name.count(":") == 1 and all(part.isidentifier() for part in parts) else None


def imported(what: str, load: Callable[[], Any]) -> Any:
    """Return what `load` imports; whatever its modules raise, a SystemExit too, is a NotImportable with `what`.

    What they print goes to stderr: stdout is for the one document that a command prints.
    """
    try:
        with redirect_stdout(sys.stderr):
            return load()
    except (Exception, SystemExit) as error:
        raise NotImportable(f"{what} cannot be imported: {_why(error)}") from error


def _why(error: BaseException) -> str:
    """Return an error of an import: its type, unless it speaks for itself, its text, and the line that raised it."""
    if isinstance(error, SyntaxError):
        return f"{type(error).__name__}: {error.msg} ({error.filename}:{error.lineno})"
    ours = (__file__, importlib.__file__, importlib.metadata.__file__)
    frames = [f for f in traceback.extract_tb(error.__traceback__) if f.filename not in ours and f.filename[0] != "<"]
    if frames:
        text = f": {error}" if str(error) else ""
        return f"{type(error).__name__}{text} ({frames[-1].filename}:{frames[-1].lineno})"
    missing = isinstance(error, ModuleNotFoundError)
    return f"{error}; install it, or run in the folder that holds it" if missing else str(error)


def _load(path: str) -> Any:
    module, _, attribute = path.partition(":")
    return getattr(importlib.import_module(module), attribute)
