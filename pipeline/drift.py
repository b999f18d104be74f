"""What differs between a study as it began and the driver that would go on with it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import trainers
from pipeline.book import Book
from pipeline.config import SearchConfig
from pipeline.keys import flatten

# What may change from one driver to the next without changing what a trial is.
# `workers` counts where a search is reproducible: each is a place in virtual time.
FREE = ("trials", "workers", "gpus_per_worker", "max_hours", "retries", "store", "tracking_uri", "study_storage")
LIBRARIES = ("torch", "numpy", "optuna", "ray", "mlflow", "pyarrow")


def versions() -> dict[str, str]:
    """Return the installed versions of the libraries that results depend on."""
    return {name: version(name) for name in LIBRARIES}


def code_digest() -> str:
    """Return a digest of the sources of trainers/, in [0-9a-f]{64}."""
    root = Path(trainers.__file__).parent
    digest = hashlib.sha256()
    for path in sorted(root.rglob("*.py")):
        digest.update(path.relative_to(root).as_posix().encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()


def differences(book: Book, config: SearchConfig) -> list[str]:
    """Return, one line each, how this driver differs from the study in what decides its results, and is not allowed."""
    study = book.study
    if study is None:
        return []
    free = tuple(key for key in FREE if key != "workers") if config.schedule == "reproducible" else FREE
    lines = [*_compare("", _leaves(book.config), _leaves(config.model_dump(mode="json")), free)]
    lines += _compare("version of ", study.versions, versions())
    lines += _compare("", {"code of trainers": study.code}, {"code of trainers": code_digest()})
    return [line for line in lines if line not in book.allowed]


def data_differences(book: Book, now: Mapping[str, Any]) -> list[str]:
    """Return, one line each, how the data that workers find differ from those that the study began with."""
    before = book.study.data if book.study else now
    return [line for line in _compare("data ", before, now) if line not in book.allowed]


def refusal(study: str, lines: Iterable[str]) -> str:
    """Return the message that refuses to go on with a study that differs."""
    told = "\n  ".join(lines)
    mend = "use another --study for another search, or --allow-drift to go on all the same"
    return f"study {study!r} was started differently:\n  {told}\n{mend}"


def _leaves(config: Mapping[str, Any]) -> dict[str, Any]:
    own = {key: value for key, value in config.items() if key != "train"}
    return flatten(own) | flatten(config.get("train") or {})


def _compare(
    prefix: str, before: Mapping[str, Any], now: Mapping[str, Any], free: tuple[str, ...] = ()
) -> Iterator[str]:
    for key in sorted(before.keys() | now.keys()):
        if key.partition(".")[0] not in free and before.get(key) != now.get(key):
            yield f"{prefix}{key}: {_short(before.get(key))} in the study, {_short(now.get(key))} now"


def _short(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value)
    return text[:12] if len(text) == hashlib.sha256().digest_size * 2 else text
