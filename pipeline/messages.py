"""What is wrong with a key: where it was set, pydantic's errors in the user's words, values that would be bent."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from pydantic import ValidationError

from pipeline.safe_text import redact
from trainers.errors import ConfigError


def split(key: str) -> tuple[str, ...]:
    """Return the parts of a dotted key; a detector that is written as `module.path:name` is one part."""
    head, _, rest = key.partition(".")
    return (head, *re.findall(r"[\w.]+:\w+|[^.]+", rest))


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
    """Return a value as a search file would have it, shortened and without passwords."""
    return short(redact(value if isinstance(value, str) and value else json.dumps(value, default=str)))


def short(text: str) -> str:
    """Return a text, cut where it is long."""
    return text if len(text) <= MAX_SHOWN else f"{text[: MAX_SHOWN - 3]}..."


def located(message: str, key: str, sources: Mapping[str, str]) -> str:
    """Return the message with the place where the key was set: its own, a part's of it, or that of what holds it."""
    parts = split(key)
    holders = [key, *(".".join(parts[:depth]) for depth in range(len(parts), 0, -1))]
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
            raise ConfigError(
                located(f"{key} {rule}, but got {key}={redact(json.dumps(value, default=str))}", key, sources)
            )


def _kind(value: Any) -> str:
    if value is None or isinstance(value, str):
        return "null" if value is None else "text"
    if isinstance(value, Mapping | list | tuple):
        return "a mapping" if isinstance(value, Mapping) else "a list"
    return "true or false" if isinstance(value, bool) else "a number"
