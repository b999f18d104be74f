"""What is left of a space once the user has set some keys."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from search_spaces.declarations import Space, Union, canonical, show
from trainers.errors import ConfigError
from trainers.registry import KINDS, Kind, find

TOLD = 3  # branches that a message names


class ContradictionError(ConfigError):
    """The user's values leave nothing of a space; `keys` are the values that do so."""

    def __init__(self, message: str, keys: tuple[str, ...]) -> None:
        super().__init__(message)
        self.keys = keys


def narrow(space: Space | Union, overrides: Mapping[str, Any]) -> Space | Union:
    """Return the space that is left once the user has set some keys.

    A key that is searched or tied becomes fixed. What contradicts a branch drops it: another value than it fixes, a
    parameter that its variant lacks, a variant that lacks what it searches. A union stays one, also of one branch.

    Args:
        space: what is searched.
        overrides: the user's values, by dotted key; keys that the space does not speak of are ignored.

    Raises:
        ContradictionError: nothing is left.
    """
    values = canonical(overrides)
    clashes = {branch.name: _clash(branch, values) for branch in space.branches}
    kept = tuple(_fix(branch, values) for branch in space.branches if clashes[branch.name] is None)
    if not kept:
        found = {name: clash for name, clash in clashes.items() if clash is not None}
        keys = tuple(dict.fromkeys(key for key, _ in found.values()))
        told = [f"{name} fixes {fixed}" for name, (_, fixed) in found.items()]
        why = "; ".join(told[:TOLD] + ([f"and {len(told) - TOLD} more"] if len(told) > TOLD else []))
        given = ", ".join(f"{key}={show(values[key])}" for key in keys)
        mend = f"remove {', '.join(keys)}, or choose another space"
        raise ContradictionError(f"{given} contradicts space {space.name!r} ({why}): {mend}", keys)
    return replace(space, spaces=kept) if isinstance(space, Union) else kept[0]


def _clash(branch: Space, values: Mapping[str, Any]) -> tuple[str, str] | None:
    for key, value in values.items():
        if key in branch.fixed and branch.fixed[key] != value:
            return key, f"{key}={show(branch.fixed[key])}"
        kind, _, parameter = key.partition(".")
        if kind not in KINDS or not parameter:
            continue
        variant = branch.fixed.get(f"{kind}.name")
        if variant is not None and parameter.partition(".")[0] not in parameters(kind, variant):
            return key, f"{kind}.name={variant}, which has no {parameter}"
        searched = [dim.key.split(".")[1] for dim in branch.dims if dim.key.startswith(f"{kind}.")]
        if parameter == "name" and (lacking := [own for own in searched if own not in parameters(kind, str(value))]):
            return key, f"no {kind}, but searches {kind}.{lacking[0]}, which {value} has not"
    return None


def parameters(kind: str, variant: str) -> frozenset[str]:
    """Return the keys that a variant of a kind takes, as a user writes them."""
    name: Kind = next(known for known in KINDS if known == kind)
    fields = find(name, variant).load_params().model_fields
    return frozenset(info.alias or key for key, info in fields.items())


def _fix(branch: Space, values: Mapping[str, Any]) -> Space:
    dims = tuple(dim for dim in branch.dims if dim.key not in values)
    ours = (*(dim.key for dim in branch.dims), *branch.tied)
    set_here = {key: values[key] for key in ours if key in values}
    default = {dim.key: branch.default[dim.key] for dim in dims}
    tied = {key: source for key, source in branch.tied.items() if key not in values}
    return replace(branch, fixed={**branch.fixed, **set_here}, dims=dims, default=default, tied=tied)
