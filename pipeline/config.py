"""SearchConfig: from YAML and --set, validated; errors name the key and the value."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, JsonValue, ValidationError, field_validator, model_validator

from pipeline import keys, yaml_file
from search_spaces import (
    ContradictionError,
    Space,
    Union,
    branch_of,
    check,
    defaults,
    find_space,
    narrow,
    probes,
    resolve,
)
from search_spaces.declarations import Scalar
from trainers.config import TrainConfig
from trainers.errors import ConfigError, nearest
from trainers.registry import Part, find

NAME = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$"


class HalvingConfig(Part):
    """Successive halving: at `first_rung` steps, then at `eta` times as many, the best 1/eta of the trials go on."""

    enabled: bool = True
    first_rung: int = Field(1000, ge=1, description="steps")
    eta: int = Field(3, ge=2)


class RetryConfig(Part):
    """How often a trial goes on elsewhere after a loss of each cause."""

    worker_lost: int = Field(3, ge=0, le=1000)
    out_of_memory: int = Field(1, ge=0, le=1000)


class SearchConfig(Part):
    """A search: what is tried, how often, where it runs, and `train`, the user's overrides of TrainConfig.

    In a search file the keys of `train` stand beside the others, on the same level.
    """

    study: str = Field("", pattern=NAME, description="default: <data>-<space>")
    space: str = "classic"
    trials: int = Field(24, ge=1, le=1_000_000, description="finished trials: completed, pruned and diverged")
    workers: int = Field(2, ge=1, le=10_000)
    gpus_per_worker: float | None = Field(None, ge=0, description="null: decided by what the machine has")
    seed: int = Field(0, ge=0, lt=2**63)
    schedule: Literal["throughput"] = "throughput"
    max_hours: float | None = Field(None, gt=0)
    enqueue: tuple[dict[str, Scalar], ...] = Field((), description="configurations to try first")
    n_startup_trials: int = Field(8, ge=1, description="finished trials before which suggestions are random")
    halving: HalvingConfig = HalvingConfig()
    retries: RetryConfig = RetryConfig()
    store: str = Field("./gansearch-store", min_length=1)
    tracking_uri: str | None = None
    study_storage: str | None = None
    train: dict[str, JsonValue] = Field({}, description="nested overrides of TrainConfig")

    @model_validator(mode="before")
    @classmethod
    def _name_study(cls, value: Any) -> Any:
        if not isinstance(value, Mapping) or value.get("study") is not None:
            return value
        train = value.get("train") or {}
        data = keys.flatten(train).get("data.name", TrainConfig.model_fields["data"].default.name)
        name = re.sub(r"[^A-Za-z0-9._-]+", "-", f"{data}-{value.get('space', 'classic')}")
        return {**value, "study": name.lstrip("._-")[:128]}

    @field_validator("study_storage")
    @classmethod
    def _not_yet(cls, value: str | None) -> str | None:
        if value is None:
            return value
        raise ValueError("must be null: showing the study in a database of Optuna's is not supported yet")

    @field_validator("train")
    @classmethod
    def _finite(cls, value: dict[str, Any]) -> dict[str, Any]:
        json.dumps(value, allow_nan=False)  # its ValueError says that a number is not finite
        return value


_OWN_KEYS = set(keys.leaves_of(SearchConfig)) - {"train"}
_OWN_FIELDS = SearchConfig.model_fields.keys() - {"train"}

# -- loading -----------------------------------------------------------------------------------------------------------


def load(file: Path | None = None, sets: Sequence[str] = (), options: Mapping[str, Any] | None = None) -> SearchConfig:
    """Return the search that a file, `--set` and options describe; the later ones win.

    Args:
        file: YAML, flat: keys of the search beside those of TrainConfig.
        sets: `KEY=VALUE`, dotted keys, values as in YAML.
        options: values of the command line's options by dotted key; None is an option that was not given.

    Raises:
        ConfigError: anything in it cannot be meant; the message names key, rule, value and place.
    """
    return _build(*_merged({}, _from_file(file), _from_sets(sets), _from_options(options or {})))


Layer = tuple[dict[str, Any], dict[str, str]]


def _merged(values: dict[str, Any], *layers: Layer) -> Layer:
    sources: dict[str, str] = {}
    for layer, places in layers:
        values = keys.overlay(values, layer)
        sources |= places
    return values, sources


def _from_file(file: Path | None) -> Layer:
    if file is None:
        return {}, {}
    document = yaml_file.read(file)
    with keys.located_errors("", {"": str(file)}):
        values = keys.flatten(document.value)
    return values, {key: f"{file}:{line}" for key, line in document.lines.items()}


def _from_sets(sets: Sequence[str]) -> Layer:
    values: dict[str, Any] = {}
    sources: dict[str, str] = {}
    for text in sets:
        key, equals, value = text.partition("=")
        if not equals or not key.strip():
            raise ConfigError(f"--set must be KEY=VALUE, but got --set {text}")
        place = f"--set {text}"
        layer = keys.flatten({key.strip(): yaml_file.parse(value, place, numbered=False).value})
        values = keys.overlay(values, layer)
        sources |= dict.fromkeys([key.strip(), *layer], place)
    return values, sources


def _from_options(options: Mapping[str, Any]) -> Layer:
    given = {key: value for key, value in options.items() if value is not None}
    places = {key: f"--{key.replace('_', '-')} {value}" for key, value in given.items()}
    flat = keys.flatten(given)
    return flat, places


def _build(values: Mapping[str, Any], sources: Mapping[str, str]) -> SearchConfig:
    space = _space(values.get("space", SearchConfig.model_fields["space"].default), sources)
    checked = keys.check_keys(values, _OWN_KEYS, space, sources)
    own = {key: value for key, value in checked.items() if keys.split(key)[0] in _OWN_FIELDS}
    train = {key: value for key, value in checked.items() if key not in own}
    try:
        narrowed = narrow(space, train)
    except ContradictionError as error:
        raise ConfigError(keys.located(str(error), error.keys[0], sources)) from error
    if "enqueue" in own:
        own["enqueue"] = _enqueued(own["enqueue"], narrowed, sources)
    try:
        search = SearchConfig.model_validate({**keys.nest(own), "train": keys.nest(train)})
    except ValidationError as error:
        raise keys.explain(error, sources) from error
    keys.check_kinds(own, keys.flatten(search.model_dump(mode="json", exclude={"train", "enqueue"})), sources)
    _check_training(search, narrowed, train, sources)
    return search


def _space(name: Any, sources: Mapping[str, str]) -> Space | Union:
    with keys.located_errors("space", sources):
        if not isinstance(name, str):
            raise ConfigError(f"space must be the name of a space, but got space={keys.show(name)}")
        return find_space(name)


def _enqueued(entries: Any, space: Space | Union, sources: Mapping[str, str]) -> list[dict[str, Any]]:
    if not isinstance(entries, list | tuple) or not all(isinstance(entry, Mapping) for entry in entries):
        message = f"enqueue must be a list of mappings, but got enqueue={keys.show(entries)}"
        raise ConfigError(keys.located(message, "enqueue", sources))
    flat = [keys.flatten(entry) for entry in entries]
    for number, entry in enumerate(flat):
        try:
            check(space, entry)
        except ConfigError as error:
            key = str(error).split(maxsplit=1)[0].strip("'")  # its line, else that of the entry
            raise ConfigError(keys.located(str(error), f"enqueue.{number}.{key}", sources)) from error
    return flat


def _check_training(
    search: SearchConfig, space: Space | Union, train: Mapping[str, Any], sources: Mapping[str, str]
) -> None:
    """Build every kind of training that the search may ask for, so that a bad key is found before any of them runs."""
    for params in probes(space):
        branch = branch_of(space, params)
        tried = {key: f"space {branch.name!r} tries it; set {key} to fix it" for key in resolve(space, params)}
        places = tried | dict(sources)
        config = _train_config(search, space, params, 0, places)
        keys.check_kinds(train, keys.flatten(config.model_dump(mode="json")), places)
    for metric in config.metrics:
        with keys.located_errors("metrics", sources):
            find("metric", metric)


# -- what follows from a search ----------------------------------------------------------------------------------------


def search_space(search: SearchConfig) -> Space | Union:
    """Return what is searched: the space, narrowed by the user's own values."""
    return narrow(find_space(search.space), keys.flatten(search.train))


def first_params(search: SearchConfig) -> list[dict[str, Scalar]]:
    """Return the params to try before anything is sampled: the user's, then each branch's published default."""
    space = search_space(search)
    wanted = [*(check(space, entry) for entry in search.enqueue), *defaults(space)]
    return [params for number, params in enumerate(wanted) if params not in wanted[:number]]


def num_enqueued(search: SearchConfig) -> int:
    """Return how many of `first_params` are the user's own."""
    space = search_space(search)
    wanted = [check(space, entry) for entry in search.enqueue]
    return sum(params not in wanted[:number] for number, params in enumerate(wanted))


def train_config(search: SearchConfig, params: Mapping[str, Scalar], seed: int) -> TrainConfig:
    """Return a trial's training: TrainConfig's defaults, then the space's values and `params`, then the user's.

    Args:
        search: whose `train` holds the user's values.
        params: exactly the dimensions of the narrowed space, by dotted key, and of a union `space`.
        seed: the trial's, in [0, 2**63).

    Raises:
        ConfigError: the values do not go together.
    """
    return _train_config(search, search_space(search), params, seed, {})


def _train_config(
    search: SearchConfig, space: Space | Union, params: Mapping[str, Scalar], seed: int, sources: Mapping[str, str]
) -> TrainConfig:
    values = keys.overlay(resolve(space, params), keys.flatten(search.train))
    for kind in keys.VARIANTS:
        if any(key.startswith(f"{kind}.") for key in values):
            values.setdefault(f"{kind}.name", TrainConfig.model_fields[kind].default.name)
    try:
        return TrainConfig.model_validate({**keys.nest(values), "seed": seed})
    except ValidationError as error:
        raise keys.explain(error, sources) from error


def vary_training(config: TrainConfig, sets: Sequence[str], options: Mapping[str, Any]) -> TrainConfig:
    """Return a training with the user's changes, in the same words as a search's; raises ConfigError as `load`."""
    base = keys.flatten(config.model_dump(mode="json"))
    values, sources = _merged(base, _from_sets(sets), _from_options(options))
    for key in sources:
        if key.partition(".")[0] not in TrainConfig.model_fields:
            raise ConfigError(keys.located(f"unknown key {key!r}{nearest(key, values)}", key, sources))
    try:
        changed = TrainConfig.model_validate(keys.nest(values))
    except ValidationError as error:
        raise keys.explain(error, sources) from error
    given = {key: values[key] for key in sources if key in values}
    keys.check_kinds(given, keys.flatten(changed.model_dump(mode="json")), sources)
    return changed


def trial_seed(study_seed: int, number: int) -> int:
    """Return the seed of trial `number`, in [0, 2**63): a digest, so that neighbours have nothing in common."""
    digest = hashlib.blake2b(f"{study_seed}/{number}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") >> 1


def resolved(search: SearchConfig) -> dict[str, Any]:
    """Return every key with its value, for a person to read; passwords in URIs are masked.

    The training is that of the first published default; `searched` says by branch which keys a trial changes.
    """
    space = search_space(search)
    train = train_config(search, defaults(space)[0], 0).model_dump(mode="json", exclude={"seed"})
    own = search.model_dump(mode="json", exclude={"train"})
    return {**keys.redact(own), **train, "searched": dict(_searched(space))}


def _searched(space: Space | Union) -> Iterator[tuple[str, dict[str, Any]]]:
    for branch in space.branches:
        dims = {dim.key: {k: v for k, v in vars(dim).items() if k != "key"} for dim in branch.dims}
        yield branch.name, json.loads(json.dumps(dims))
