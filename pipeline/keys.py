"""The user's keys: dotted, layered, known or misspelt; pydantic's errors in the user's words."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from pydantic import ValidationError

from search_spaces.declarations import Space, Union, parameters
from trainers.config import TrainConfig
from trainers.errors import ConfigError, nearest
from trainers.registry import KINDS, Kind, Params, Part, find, known

# Keys whose value is a variant: `penalty: gradient` is short for `penalty: {name: gradient}`.
VARIANTS: dict[str, Kind] = {kind: kind for kind in KINDS if kind in TrainConfig.model_fields}

# -- shapes ------------------------------------------------------------------------------------------------------------


def split(key: str) -> tuple[str, ...]:
    """Return the parts of a dotted key; a detector that is written as `module.path:name` is one part."""
    head, _, rest = key.partition(".")
    return (head, *re.findall(r"[\w.]+:\w+|[^.]+", rest))


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
    values: Mapping[str, Any], own: set[str], space: Space | Union, sources: Mapping[str, str]
) -> dict[str, Any]:
    """Return the values without empty groups; refuse what is no key.

    Args:
        values: the user's values by dotted key.
        own: keys besides those of TrainConfig.
        space: what is searched; its branches say which variants' parameters can be meant.
        sources: where each value comes from, for the message.

    Raises:
        ConfigError: a key is unknown (the nearest known one is named), or a group of keys has a plain value.
    """
    parts = set(leaves_of(TrainConfig)) - VARIANTS.keys() - {"stability", "seed"}
    openly = {f"{kind}.{p}" for kind in VARIANTS.values() for p in _variant_keys(kind, values, space, sources)}
    openly |= {f"stability.{name}.{p}" for name in _detectors(values, sources) for p in parameters("detector", name)}
    leaves = parts | openly | own
    groups = {".".join(split(key)[:depth]) for key in leaves for depth in range(1, len(split(key)))}
    for key, value in values.items():
        if key in groups and value != {}:
            depth = len(split(key))
            inner = ", ".join(sorted({split(leaf)[depth] for leaf in leaves if leaf.startswith(f"{key}.")}))
            rule = f"the name of a {key}, or a mapping of " if key in VARIANTS else "a mapping of "
            raise ConfigError(located(f"{key} must be {rule}{inner}, but got {key}={show(value)}", key, sources))
        inside = any(key.startswith(f"{leaf}.") for leaf in openly)  # a parameter of a variant may itself be a mapping
        if key not in leaves | groups and not inside:
            hint = _owner(key) or nearest(key, leaves | groups)
            raise ConfigError(located(f"unknown key {key!r}{hint}", key, sources))
        if isinstance(value, float) and not math.isfinite(value):
            raise ConfigError(located(f"{key} must be a finite number, but got {key}={value}", key, sources))
    return {key: value for key, value in values.items() if key not in groups}


def _variant_keys(
    kind: Kind, values: Mapping[str, Any], space: Space | Union, sources: Mapping[str, str]
) -> frozenset[str]:
    key = f"{kind}.name"
    default = {str(TrainConfig.model_fields[kind].default.name)}
    fixed = {str(branch.fixed[key]) for branch in space.branches if key in branch.fixed}
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


# -- secrets -----------------------------------------------------------------------------------------------------------


def redact(value: Any) -> Any:
    """Return JSON data in which no URL holds a user name or a password."""
    if isinstance(value, str):
        return re.sub(r"(?<=://)[^/@\s]+@", "***@", value)
    if isinstance(value, Mapping):
        return {key: redact(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [redact(item) for item in value]
    return value


# -- messages ----------------------------------------------------------------------------------------------------------

MAX_SHOWN = 80
_RULES = {
    "greater_than_equal": "must be at least {ge}",
    "greater_than": "must be greater than {gt}",
    "less_than_equal": "must be at most {le}",
    "less_than": "must be less than {lt}",
    "multiple_of": "must be a multiple of {multiple_of}",
    "finite_number": "must be a finite number",
    "literal_error": "must be {expected}",
    "too_long": "must have at most {max_length} entries",
    "too_short": "must have at least {min_length} entries",
    "string_too_short": "must have at least {min_length} characters",
    "string_too_long": "must have at most {max_length} characters",
    "string_pattern_mismatch": "must match {pattern}",
    "missing": "must be given",
}
_KINDS = (
    (("int_", "int_from_float"), "must be a whole number"),
    (("float_", "decimal_"), "must be a number"),
    (("bool_",), "must be true or false"),
    (("string_",), "must be text"),
    (("tuple_", "list_", "set_"), "must be a list"),
    (("dict_", "mapping_", "model_"), "must be a mapping"),
)


def show(value: Any) -> str:
    """Return a value as a search file would have it, shortened."""
    text = value if isinstance(value, str) and value else json.dumps(value, default=str)
    return text if len(text) <= MAX_SHOWN else f"{text[: MAX_SHOWN - 3]}..."


def located(message: str, key: str, sources: Mapping[str, str]) -> str:
    """Return the message with the place where the key was set: its own, a part's of it, or that of what holds it."""
    parts = split(key)
    holders = [".".join(parts[:depth]) for depth in range(len(parts), 0, -1)]
    inside = [source for name, source in sources.items() if name.startswith(f"{key}.")]
    place = next((sources[name] for name in holders if name in sources), inside[0] if inside else "")
    return f"{message} ({place})" if place else message


@contextmanager
def located_errors(key: str, sources: Mapping[str, str]) -> Iterator[None]:
    """Add the place where a key was set to a ConfigError."""
    try:
        yield
    except ConfigError as error:
        raise ConfigError(located(str(error), key, sources)) from error


def explain(error: ValidationError, sources: Mapping[str, str]) -> ConfigError:
    """Return pydantic's error in the user's words, a line for each mistake.

    Args:
        error: of a model whose fields are the user's keys.
        sources: where each value comes from, by dotted key.
    """
    return ConfigError("\n".join(located(message, key, sources) for key, message in _problems(error, ())))


def _problems(error: ValidationError, prefix: tuple[Any, ...]) -> Iterator[tuple[str, str]]:
    for problem in error.errors(include_url=False):
        location = (*prefix, *problem["loc"])
        context = problem.get("ctx", {})
        inner = context.get("error")
        key = ".".join(str(part) for part in location)
        if isinstance(inner, ValidationError):
            yield from _problems(inner, location)
        elif inner is not None and not str(inner).startswith("must"):
            message = str(inner)
            yield key or message.split(maxsplit=1)[0], message  # a rule over several keys names the one to mend first
        elif problem["type"] == "extra_forbidden":
            yield key, f"unknown key {key!r}"
        else:
            rule = str(inner) if inner is not None else _rule(problem["type"], context, problem["msg"])
            yield key, f"{key} {rule}, but got {key}={show(problem['input'])}"


def _rule(kind: str, context: Mapping[str, Any], fallback: str) -> str:
    if kind in _RULES:
        whole = {k: int(v) if isinstance(v, float) and v.is_integer() else v for k, v in context.items()}
        return _RULES[kind].format(**whole)
    rules = (rule for prefixes, rule in _KINDS if kind.startswith(prefixes))
    return next(rules, fallback.replace("Input should be", "must be"))


def check_kinds(given: Mapping[str, Any], got: Mapping[str, Any], sources: Mapping[str, str]) -> None:
    """Refuse what validation would bend: `true` for a number, text for a number, `no` for false.

    Args:
        given: the user's values by dotted key.
        got: the validated ones, as JSON has them.
        sources: where each value comes from.

    Raises:
        ConfigError: a value was bent.
    """
    for key, value in given.items():
        if key in got and _kind(value) != _kind(got[key]):
            rule = f"must be {_kind(got[key])}"
            raise ConfigError(located(f"{key} {rule}, but got {key}={json.dumps(value, default=str)}", key, sources))


def _kind(value: Any) -> str:
    if value is None or isinstance(value, str):
        return "null" if value is None else "text"
    if isinstance(value, Mapping | list | tuple):
        return "a mapping" if isinstance(value, Mapping) else "a list"
    return "true or false" if isinstance(value, bool) else "a number"
