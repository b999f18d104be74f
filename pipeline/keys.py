"""The user's keys: dotted, nested, layered, known or misspelt."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from pipeline import yaml_file
from pipeline.messages import located, located_errors, show, split
from pipeline.safe_text import redact
from search_spaces.declarations import Space, Union
from search_spaces.narrowing import parameters
from trainers.config import TrainConfig
from trainers.errors import ConfigError, nearest
from trainers.registry import KINDS, Kind, Params, Part, article, find, known

# Keys whose value is a variant: `penalty: gradient` is short for `penalty: {name: gradient}`.
VARIANTS: dict[str, Kind] = {kind: kind for kind in KINDS if kind in TrainConfig.model_fields}

# -- shapes ------------------------------------------------------------------------------------------------------------


def flatten(tree: Mapping[str, Any]) -> dict[str, Any]:
    """Return the leaves of nested mappings by dotted key; an empty mapping is a leaf, a variant's name is its `name`.

    Raises:
        ConfigError: a key is there twice, as `a: {b: 1}` and as `a.b: 1`.
    """
    flat: dict[str, Any] = {}
    for key, value in _leaves(tree, ""):
        name = f"{key}.name" if key in VARIANTS and isinstance(value, str) else key
        if name in flat:
            raise ConfigError(f"the key {name!r} is set twice: keep one")
        flat[name] = value
    return flat


def _leaves(tree: Mapping[str, Any], prefix: str) -> Iterator[tuple[str, Any]]:
    for key, value in tree.items():
        if isinstance(value, Mapping) and value:
            yield from _leaves(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def nest(flat: Mapping[str, Any]) -> dict[str, Any]:
    """Return the nested mappings whose leaves are `flat`; the inverse of flatten."""
    tree: dict[str, Any] = {}
    for key, value in flat.items():
        *groups, last = split(key)
        place = tree
        for group in groups:
            place = place.setdefault(group, {})
        place[last] = value
    return tree


def overlay(base: Mapping[str, Any], layer: Mapping[str, Any]) -> dict[str, Any]:
    """Return `base` with a layer on top; where the layer changes a variant, the parameters of the other one go."""
    gone = {key for kind in VARIANTS if f"{kind}.name" in layer for key in _foreign(kind, base, layer[f"{kind}.name"])}
    return {key: value for key, value in base.items() if key not in gone} | dict(layer)


def _foreign(kind: str, base: Mapping[str, Any], name: Any) -> Iterator[str]:
    before = base.get(f"{kind}.name")
    for key in base:
        if key.startswith(f"{kind}."):
            parameter = split(key)[1]
            kept = name == before if before is not None else parameter in _parameters(kind, name)
            if not kept:
                yield key


def _parameters(kind: str, name: Any) -> frozenset[str]:
    """Return a variant's parameters; none for a name that nobody knows, which is reported once all layers are there."""
    try:
        return parameters(kind, str(name))
    except ConfigError:
        return frozenset()


# -- layers ------------------------------------------------------------------------------------------------------------

Layer = tuple[dict[str, Any], dict[str, str]]  # values by dotted key, and where each comes from


def merged(values: dict[str, Any], *layers: Layer) -> Layer:
    """Return values with layers on top of them, the later ones over the earlier."""
    sources: dict[str, str] = {}
    for layer, places in layers:
        values = overlay(values, layer)
        sources |= places
    return values, sources


def from_file(file: Path | None) -> Layer:
    """Return the values of a search file, nested or dotted; raises ConfigError where it cannot be read."""
    if file is None:
        return {}, {}
    document = yaml_file.read(file)
    with located_errors("", {"": str(file)}):
        values = flatten(document.value)
    return values, {key: f"{file}:{line}" for key, line in document.lines.items()}


def from_sets(sets: Sequence[str]) -> Layer:
    """Return the values of `--set KEY=VALUE`; raises ConfigError for what is none, or no YAML."""
    values: dict[str, Any] = {}
    sources: dict[str, str] = {}
    for text in sets:
        key, equals, value = text.partition("=")
        if not equals or not key.strip():
            raise ConfigError(f"--set must be KEY=VALUE, but got --set {redact(text)}")
        place = redact(f"--set {text}")
        layer = flatten({key.strip(): yaml_file.parse(value, place, numbered=False).value})
        values = overlay(values, layer)
        sources |= dict.fromkeys([key.strip(), *layer], place)
    return values, sources


def from_options(options: Mapping[str, Any]) -> Layer:
    """Return the values of the command line's options; None is an option that was not given."""
    given = {key: value for key, value in options.items() if value is not None}
    places = {key: redact(f"--{key.replace('_', '-')} {value}") for key, value in given.items()}
    flat = flatten(given)
    return flat, places


# -- known keys --------------------------------------------------------------------------------------------------------


def leaves_of(model: type[Part], prefix: str = "") -> Iterator[str]:
    """Yield the dotted keys of a model's fields, those of nested parts included; a variant is one key."""
    for name, info in model.model_fields.items():
        inner, key = info.annotation, prefix + (info.alias or name)
        if isinstance(inner, type) and issubclass(inner, Part) and not issubclass(inner, Params):
            yield from leaves_of(inner, f"{key}.")
        else:
            yield key


def check_keys(
    values: Mapping[str, Any], own: set[str], space: Space | Union | None, sources: Mapping[str, str]
) -> dict[str, Any]:
    """Return the values without empty groups; refuse what is no key.

    Args:
        values: the user's values by dotted key.
        own: keys besides those of TrainConfig.
        space: what is searched; its branches say which variants' parameters can be meant. None: `values` name them.
        sources: where each value comes from, for the message.

    Raises:
        ConfigError: a key is unknown (the nearest known one is named), a group of keys has a plain value, or a key
            that has a value has keys below it.
    """
    parts = set(leaves_of(TrainConfig)) - VARIANTS.keys() - {"stability", "seed"}
    openly = {f"{kind}.{p}" for kind in VARIANTS.values() for p in _variant_keys(kind, values, space, sources)}
    openly |= {f"stability.{name}.{p}" for name in _detectors(values, sources) for p in parameters("detector", name)}
    leaves = parts | openly | own
    groups = {".".join(split(key)[:depth]) for key in leaves for depth in range(1, len(split(key)))}
    holders = {key[:dot] for key in values for dot, letter in enumerate(key) if letter == "."}
    mappings = tuple(f"{key}." for key in openly if not key.endswith(".name"))  # such a parameter may be a mapping
    for key, value in values.items():
        if key in groups and value != {}:
            raise ConfigError(located(_group_rule(key, value, leaves), key, sources))
        if key not in leaves | groups and not key.startswith(mappings):
            alone = split(key)[-1]  # as in train.steps
            hint = _owner(key) or nearest(alone if alone in leaves else key, leaves | groups)
            raise ConfigError(located(f"unknown key {key!r}{hint}", key, sources))
        if isinstance(value, float) and not math.isfinite(value):
            raise ConfigError(located(f"{key} must be a finite number, but got {key}={value}", key, sources))
    for key, value in values.items():
        if key in holders and value != {}:
            below = next(other for other in values if other.startswith(f"{key}."))
            raise ConfigError(located(f"{below} cannot be set beside {key}={show(value)}: keep one", below, sources))
    return {key: value for key, value in values.items() if key not in groups | holders}


def _group_rule(key: str, value: Any, leaves: set[str]) -> str:
    depth = len(split(key))
    inner = ", ".join(sorted({split(leaf)[depth] for leaf in leaves if leaf.startswith(f"{key}.")}))
    rule = f"the name of {article(key)}, or a mapping of " if key in VARIANTS else "a mapping of "
    return f"{key} must be {rule}{inner}, but got {key}={show(value)}"


def _variant_keys(
    kind: Kind, values: Mapping[str, Any], space: Space | Union | None, sources: Mapping[str, str]
) -> frozenset[str]:
    key = f"{kind}.name"
    default = {str(TrainConfig.model_fields[kind].default.name)}
    branches = () if space is None else space.branches
    fixed = {str(branch.fixed[key]) for branch in branches if key in branch.fixed}
    # A parameter that no branch takes contradicts the space, which `narrow` explains; one of no variant is unknown.
    others = {variant.name for variant in known(kind)} if fixed else default
    names = {str(values[key])} if key in values else fixed | others
    with located_errors(key, sources):
        return frozenset.union(*(parameters(kind, name) for name in names))


def _detectors(values: Mapping[str, Any], sources: Mapping[str, str]) -> set[str]:
    shipped = {variant.name for variant in known("detector")}
    own = {split(key)[1] for key in values if key.startswith("stability.") and ":" in key}
    for name in own:
        with located_errors(f"stability.{name}", sources):
            find("detector", name)
    return shipped | own


def _owner(key: str) -> str:
    """Say which variants have a parameter that the chosen one does not have."""
    kind, _, parameter = key.partition(".")
    if kind not in VARIANTS:
        return ""
    owners = [variant.name for variant in known(VARIANTS[kind]) if parameter in parameters(kind, variant.name)]
    return f": it belongs to {kind} {' or '.join(owners)}; set {kind}.name" if owners else ""
