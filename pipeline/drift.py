"""What differs between a study as it began and the driver that would go on with it."""

from __future__ import annotations

import hashlib
import importlib.util
import json
from collections.abc import Iterable, Iterator, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import search_spaces
import trainers
from pipeline.book import Book
from pipeline.config import SearchConfig, search_space
from pipeline.keys import flatten
from trainers.registry import module_of

# What may change from one driver to the next without changing what a trial is.
# `workers` counts where a search is reproducible: each is a place in virtual time.
FREE = ("trials", "workers", "gpus_per_worker", "max_hours", "retries", "store", "tracking_uri", "study_storage")
# Modules of pipeline/ of which results are a function.
DECIDE = ("asking", "book", "config", "keys", "order", "policies", "search", "study")
LIBRARIES = ("torch", "numpy", "optuna", "ray", "mlflow", "pyarrow")


def versions() -> dict[str, str]:
    """Return the installed versions of the libraries that results depend on."""
    return {name: version(name) for name in LIBRARIES}


def user_modules(config: SearchConfig) -> list[str]:
    """Return the top-level modules of variants that are written as module:name, sorted.

    A space of the user's own may name some that the configuration does not.
    """
    spaces = [
        [dict(branch.fixed), *(list(dim.probes) for dim in branch.dims)] for branch in search_space(config).branches
    ]
    return sorted(_named_modules([config.model_dump(mode="json"), *spaces]))


def code_digest(config: SearchConfig) -> str:
    """Return a digest of the sources that decide a search's results, in [0-9a-f]{64}.

    They are trainers/, search_spaces/, what asks, judges and orders, and the user's own modules, each of which is a
    file or a package whole.

    Args:
        config: that names those modules.
    """
    digest = hashlib.sha256()
    for name, path in _sources(user_modules(config)):
        digest.update(name.encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()


def _sources(modules: Iterable[str]) -> Iterator[tuple[str, Path]]:
    here = Path(__file__).parent
    for name in DECIDE:
        yield f"pipeline/{name}.py", here / f"{name}.py"
    for module in (*(room.__name__ for room in (trainers, search_spaces)), *modules):
        found = importlib.util.find_spec(module)
        if found is None:
            continue  # a name and a port, say: variants were imported when the search was read
        roots = [Path(root) for root in found.submodule_search_locations or ()]
        for root in roots:
            yield from ((f"{module}/{path.relative_to(root)}", path) for path in sorted(root.rglob("*.py")))
        if not roots and found.origin is not None and Path(found.origin).is_file():
            yield module, Path(found.origin)


def _named_modules(value: Any) -> set[str]:
    if isinstance(value, dict | list):
        parts = value if isinstance(value, list) else [*value.keys(), *value.values()]
        return set().union(*map(_named_modules, parts))
    found = module_of(value) if isinstance(value, str) else None
    return {found} if found else set()


def differences(book: Book, config: SearchConfig) -> list[str]:
    """Return, one line each, how this driver differs from the study in what decides its results, and is not allowed.

    The configuration is compared with the newest driver's; versions and code with those that the study began with, so
    that what was allowed of them once is allowed for good.
    """
    study = book.study
    if study is None:
        return []
    free = tuple(key for key in FREE if key != "workers") if config.schedule == "reproducible" else FREE
    first = [*_compare("version of ", study.versions, versions())]
    first += _compare("", {"code": study.code}, {"code": code_digest(config)})
    lines = [*_compare("", _leaves(book.config), _leaves(config.model_dump(mode="json")), free)]
    return lines + [line for line in first if line not in book.allowed]


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
