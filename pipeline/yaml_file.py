"""YAML without its traps: YAML 1.2 numbers; no aliases, tags or duplicate keys; a line for every key."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import yaml
from yaml.events import (
    AliasEvent,
    DocumentEndEvent,
    DocumentStartEvent,
    Event,
    MappingEndEvent,
    MappingStartEvent,
    ScalarEvent,
    SequenceEndEvent,
    StreamEndEvent,
    StreamStartEvent,
)

from trainers.errors import ConfigError

MAX_BYTES = 1 << 18
MAX_DEPTH = 16
MAX_VALUES = 10_000  # keys count; so many, in so many bytes, are read within a second
MAX_KEY = 200  # characters: each value has a dotted path of its keys

# The core schema of YAML 1.2, in which `no`, `on`, `yes` and dates are text; longer digit strings become floats.
_NULL = frozenset({"", "~", "null", "Null", "NULL"})
_BOOL = {"true": True, "false": False}
_INT = re.compile(r"[-+]?[0-9]{1,300}")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_INFINITE = {".inf": math.inf, "+.inf": math.inf, "-.inf": -math.inf, ".nan": math.nan}


@dataclass(frozen=True)
class Document:
    """A parsed text: its value, and the line (from 1) of every key and list entry by its dotted path."""

    value: Any
    lines: Mapping[str, int]


def read(path: Path) -> Document:
    """Return the mapping that a YAML file holds.

    Args:
        path: a UTF-8 file of at most 256 KiB.

    Raises:
        ConfigError: it cannot be read, is not YAML, uses what is refused, or is not a mapping.
    """
    try:
        with path.open("rb") as stream:
            raw = stream.read(MAX_BYTES + 1)
    except OSError as error:
        raise ConfigError(f"the file {path} cannot be read: {error.strerror}") from error
    if len(raw) > MAX_BYTES:
        raise ConfigError(f"a search file must be at most {MAX_BYTES} bytes, but {path} is larger")
    try:
        text = raw.decode()
    except UnicodeDecodeError as error:
        line = raw[: error.start].count(b"\n") + 1
        raise ConfigError(f"a search file must be UTF-8 text, but byte {error.start} is not ({path}:{line})") from error
    document = parse(text, str(path))
    if not isinstance(document.value, dict):
        raise ConfigError(f"a search file must be a mapping of keys to values, but {path} is not: write `key: value`")
    return document


def parse(text: str, source: str, *, numbered: bool = True) -> Document:
    """Return what a YAML text holds.

    Args:
        text: one document.
        source: where it comes from, for messages.
        numbered: whether messages add the line to the source.

    Raises:
        ConfigError: it is not YAML, or uses what is refused.
    """
    if text.startswith("\ufeff"):
        raise ConfigError(f"the text must not start with a byte order mark: save it as plain UTF-8 ({source})")
    reader = _Reader(text, source, numbered)
    try:
        value = reader.document()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        problem = " ".join(filter(None, (error.problem, error.context)))
        if mark is not None and "\\t" in problem:
            problem = "indent with spaces, not with tabs"
        reader.fail(f"not valid YAML: {problem}", mark.line if mark is not None else 0)
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position)
        reader.fail(f"not valid YAML: the character U+{error.character:04X} is not allowed", line)
    return Document(value, reader.lines)


class _Reader:
    """Builds values from parser events, so that an alias or a tag is refused before anything is made of it."""

    def __init__(self, text: str, source: str, numbered: bool) -> None:
        self.lines: dict[str, int] = {}
        self._text, self._source, self._numbered = text, source, numbered
        self._values = 0
        self._events: Iterator[Event] = iter(())

    def fail(self, message: str, line: int) -> NoReturn:
        place = f"{self._source}:{line + 1}" if self._numbered else self._source
        raise ConfigError(f"{message} ({place})")

    def document(self) -> Any:
        self._events = yaml.parse(self._text, Loader=yaml.SafeLoader)
        value: Any = None
        documents = 0
        for event in self._events:
            if isinstance(event, DocumentStartEvent):
                documents += 1
                if documents > 1:
                    self.fail("there must be one document, but a second one begins", _line(event))
            elif not isinstance(event, StreamStartEvent | DocumentEndEvent | StreamEndEvent):
                value = self._value(event, ())
        return value

    def _value(self, event: Event, path: tuple[str, ...]) -> Any:
        line = _line(event)
        if isinstance(event, AliasEvent) or getattr(event, "anchor", None) is not None:
            self.fail("anchors (&) and aliases (*) are refused: write the value out", line)
        if (tag := getattr(event, "tag", None)) is not None:
            shown = tag.replace("tag:yaml.org,2002:", "!!")
            self.fail(f"tags such as {shown} are refused: write the plain value", line)
        self._values += 1
        if self._values > MAX_VALUES:
            self.fail(f"there must be at most {MAX_VALUES} keys and values", line)
        if len(path) > MAX_DEPTH:
            self.fail(f"values must be at most {MAX_DEPTH} levels deep", line)
        if isinstance(event, ScalarEvent):
            return _scalar(event.value) if event.implicit[0] else event.value
        return self._mapping(path) if isinstance(event, MappingStartEvent) else self._sequence(path)

    def _mapping(self, path: tuple[str, ...]) -> dict[str, Any]:
        mapping: dict[str, Any] = {}
        while not isinstance(event := next(self._events), MappingEndEvent):
            line = _line(event)
            key = self._value(event, (*path, ""))
            if not isinstance(key, str) or not key:
                self.fail(f"a key must be a name, but got {'null' if key is None else key}", line)
            if len(key) > MAX_KEY:
                self.fail(f"a key must have at most {MAX_KEY} characters, but one has {len(key)}", line)
            dotted = ".".join((*path, key))
            if dotted in self.lines:
                self.fail(f"the key {dotted!r} is already set in line {self.lines[dotted]}: keep one", line)
            self.lines[dotted] = line + 1
            mapping[key] = self._value(next(self._events), (*path, key))
        return mapping

    def _sequence(self, path: tuple[str, ...]) -> list[Any]:
        sequence: list[Any] = []
        while not isinstance(event := next(self._events), SequenceEndEvent):
            entry = (*path, str(len(sequence)))
            self.lines[".".join(entry)] = _line(event) + 1
            sequence.append(self._value(event, entry))
        return sequence


def _line(event: Event) -> int:
    return 0 if event.start_mark is None else event.start_mark.line


def _scalar(text: str) -> Any:
    if text in _NULL:
        return None
    if text in _BOOL:
        return _BOOL[text]
    if _INT.fullmatch(text):
        return int(text)
    if _FLOAT.fullmatch(text):
        return float(text)
    return _INFINITE.get(text.lower(), text)
