"""A space as data: what it fixes, what it searches, and what each published default is; no sampler in sight."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import combinations_with_replacement, islice, product
from typing import Any

from trainers.errors import ConfigError, nearest
from trainers.registry import KINDS

Scalar = bool | int | float | str
Params = dict[str, Scalar]
BRANCH = "space"  # the key of a trial's params that names the branch of a union
# What a study's trials have in common, or their scores, budgets and checkpoints could not be compared.
COMMON = ("data", "metrics", "evaluation", "seed", "steps", "segment_steps", "score_at", "device")
NAMED = 12  # branches that an error names; of the rest it tells the number


@dataclass(frozen=True)
class Float:
    """A real number in [low, high], sampled uniformly, or uniformly in its logarithm."""

    key: str
    low: float
    high: float
    log: bool = False

    def __post_init__(self) -> None:
        if not (math.isfinite(self.low) and math.isfinite(self.high) and self.low < self.high):
            raise ConfigError(f"{self.key} must have finite low < high, but got low={self.low}, high={self.high}")
        if self.log and self.low <= 0:
            raise ConfigError(f"{self.key} must have low above 0 with log=True, but got low={self.low}")

    @property
    def probes(self) -> tuple[float, ...]:
        """The values that a configuration must accept for the whole range to be acceptable; one is no whole number."""
        within = self.low + (self.high - self.low) / math.pi
        return (self.low, self.high, within)

    def check(self, value: Any) -> float:
        """Return the value as a float; ConfigError where it is none, or out of range."""
        number = isinstance(value, int | float) and not isinstance(value, bool)
        if not number or not self.low <= value <= self.high:
            rule = f"must be a number from {self.low:g} to {self.high:g}"
            raise ConfigError(f"{self.key} {rule}, but got {self.key}={value}")
        return float(value)


@dataclass(frozen=True)
class Choice:
    """One of several values, in no order."""

    key: str
    options: tuple[Scalar, ...]

    def __post_init__(self) -> None:
        if not self.options or len(set(self.options)) < len(self.options):
            raise ConfigError(f"{self.key} must have different options, at least one, but got {self.options}")

    @property
    def probes(self) -> tuple[Scalar, ...]:
        """The values that a configuration must accept for all options to be acceptable."""
        return self.options

    def check(self, value: Any) -> Scalar:
        """Return the option that equals the value; ConfigError where there is none."""
        for option in self.options:
            if value == option and isinstance(value, bool) == isinstance(option, bool):
                return option
        options = ", ".join(str(option) for option in self.options)
        raise ConfigError(f"{self.key} must be one of {options}, but got {self.key}={value}")


Dim = Float | Choice


def canonical(values: Mapping[str, Any]) -> dict[str, Any]:
    """A variant that is written as its plain name is its `name` key."""
    return {f"{key}.name" if key in KINDS and isinstance(v, str) else key: v for key, v in values.items()}


@dataclass(frozen=True, kw_only=True)
class Space:
    """What is fixed and what is searched, by dotted configuration key.

    Attributes:
        fixed: values that make the space what it is.
        dims: what is sampled.
        default: the published value of every dimension; it is tried before anything is sampled.
        tied: keys that take the value of another one, which is fixed or searched, unless the user sets them.
    """

    name: str
    summary: str
    source: str
    fixed: Mapping[str, Any] = field(default_factory=dict)
    dims: tuple[Dim, ...]
    default: Mapping[str, Scalar]
    tied: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        keys = [dim.key for dim in self.dims]
        fixed = canonical(self.fixed)
        if nested := sorted(key for key, value in fixed.items() if isinstance(value, Mapping)):
            raise ConfigError(f"space {self.name!r} must fix dotted keys, such as network.width, but fixes {nested[0]}")
        if common := sorted(key for key in {*keys, *fixed, *self.tied} if key.partition(".")[0] in COMMON):
            what = "belongs to the search, whose trials have it in common"
            raise ConfigError(f"space {self.name!r} must leave {common[0]} alone: it {what}")
        twice = {key for key in keys if keys.count(key) > 1 or key in fixed}
        if twice or set(keys) != set(self.default):
            wrong = ", ".join(sorted(twice or set(keys) ^ set(self.default)))
            rule = "must search each key once, not fix it too, and have a default for it"
            raise ConfigError(f"space {self.name!r} {rule}, but not so: {wrong}")
        taken = {*keys, *fixed}
        astray = sorted(key for key, source in self.tied.items() if key in taken or source not in taken)
        if astray:
            raise ConfigError(f"space {self.name!r} must tie free keys to taken ones, but not so: {', '.join(astray)}")
        object.__setattr__(self, "fixed", fixed)
        object.__setattr__(self, "default", {dim.key: dim.check(self.default[dim.key]) for dim in self.dims})

    @property
    def branches(self) -> tuple[Space, ...]:
        """The space itself, as the only branch."""
        return (self,)


@dataclass(frozen=True, kw_only=True)
class Union:
    """Several spaces of which a trial takes one; its params name it under the key `space`."""

    name: str
    summary: str
    source: str
    spaces: tuple[Space, ...]

    def __post_init__(self) -> None:
        if not self.spaces or len({space.name for space in self.spaces}) < len(self.spaces):
            names = ", ".join(space.name for space in self.spaces)
            raise ConfigError(f"union {self.name!r} must have spaces of different names, but got: {names}")

    @property
    def branches(self) -> tuple[Space, ...]:
        """The spaces that a trial chooses from."""
        return self.spaces


def show(value: Any) -> str:
    """Return a value as a user writes it."""
    return "null" if value is None else str(value)


def defaults(space: Space | Union) -> list[Params]:
    """Return the params of each branch's published default, in the order of the branches."""
    return [_named(space, branch, branch.default) for branch in space.branches]


def probes(space: Space | Union) -> Iterator[Params]:
    """Yield each branch's default, then the default with every two dimensions at what they must be accepted at."""
    for branch in space.branches:
        seen = [dict(branch.default)]
        yield _named(space, branch, branch.default)
        for dims in combinations_with_replacement(branch.dims, 2):
            for values in product(*(dim.probes for dim in dims)):
                params = {**branch.default, **{dim.key: value for dim, value in zip(dims, values, strict=True)}}
                if params not in seen:
                    seen.append(params)
                    yield _named(space, branch, params)


def _named(space: Space | Union, branch: Space, params: Mapping[str, Scalar]) -> Params:
    return {BRANCH: branch.name, **params} if isinstance(space, Union) else dict(params)


def branch_of(space: Space | Union, params: Mapping[str, Any]) -> Space:
    """Return the branch that params name; ConfigError where it is missing or unknown."""
    if isinstance(space, Space) and BRANCH not in params:
        return space
    branches = {branch.name: branch for branch in space.branches}
    name = params.get(BRANCH)
    if name not in branches:
        close = nearest(str(name), branches)
        raise ConfigError(f"space must be one of {_named_all(branches)}, but got space={show(name)}{close}")
    return branches[name]


def _named_all(names: Collection[str]) -> str:
    told = ", ".join(islice(names, NAMED))
    return told if len(names) <= NAMED else f"{told} and {len(names) - NAMED} more"


def resolve(space: Space | Union, params: Mapping[str, Any]) -> dict[str, Any]:
    """Return every dotted key that a trial sets: what its branch fixes and ties, and its params without `space`.

    Raises:
        ConfigError: params are not exactly the dimensions of the branch.
    """
    branch = branch_of(space, params)
    values = {key: value for key, value in params.items() if key != BRANCH}
    wrong = sorted(set(values) ^ {dim.key for dim in branch.dims})
    if wrong:
        raise ConfigError(f"params must be the dimensions of space {branch.name!r}, but not so: {', '.join(wrong)}")
    values = {**branch.fixed, **values}
    return values | {key: values[source] for key, source in branch.tied.items()}


def check(space: Space | Union, params: Mapping[str, Any]) -> Params:
    """Return params that a user wrote down, checked and completed from the branch's default.

    Args:
        space: what is searched, narrowed by what the user has set.
        params: values by dotted key; `space` may be missing where the keys leave one branch only.

    Raises:
        ConfigError: an unknown key, a value out of range, or a branch that is not clear.
    """
    given = canonical(params)
    named = BRANCH in given or len(space.branches) == 1
    branch = branch_of(space, {BRANCH: space.branches[0].name, **given}) if named else _only(space, given)
    dims = {dim.key: dim for dim in branch.dims}
    values: dict[str, Scalar] = dict(branch.default)
    for key, value in given.items():
        if key in dims:
            values[key] = dims[key].check(value)
        elif key in branch.fixed and branch.fixed[key] != value:
            fixed = show(branch.fixed[key])
            raise ConfigError(f"{key} is fixed to {fixed} in space {branch.name!r}, but got {key}={show(value)}")
        elif key in branch.tied:
            raise ConfigError(f"{key} takes the value of {branch.tied[key]} in space {branch.name!r}: set that instead")
        elif key not in branch.fixed and key != BRANCH:
            close = nearest(key, [*dims, *branch.fixed])
            raise ConfigError(f"{key!r} is not searched by space {branch.name!r}{close}")
    return _named(space, branch, values)


def _only(space: Space | Union, given: Mapping[str, Any]) -> Space:
    def takes(branch: Space) -> bool:
        searched = {dim.key for dim in branch.dims}
        return all(key in searched or (key in branch.fixed and branch.fixed[key] == v) for key, v in given.items())

    fitting = [branch for branch in space.branches if takes(branch)]
    if len(fitting) == 1:
        return fitting[0]
    every = {key for branch in space.branches for key in [*branch.fixed, *(dim.key for dim in branch.dims)]}
    for key in given:
        if key not in every:
            raise ConfigError(f"{key!r} is not searched by space {space.name!r}{nearest(key, every)}")
    names = _named_all([branch.name for branch in fitting or space.branches])
    which = f"fits several branches of {space.name!r}" if fitting else f"fits no branch of {space.name!r}"
    raise ConfigError(
        f"a configuration with the keys {', '.join(given) or '(none)'} {which}: add space (one of {names})"
    )
