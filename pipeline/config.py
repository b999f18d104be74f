"""SearchConfig: from YAML and --set, validated; errors name the key and the value."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, JsonValue, ValidationError, field_validator, model_validator

from pipeline import keys
from pipeline.messages import check_kinds, explain, located, located_errors, show, split
from pipeline.records import NAME
from pipeline.safe_text import key_of_secret, redact
from search_spaces import (
    ContradictionError,
    Space,
    Union,
    branch_of,
    check,
    defaults,
    find_space,
    fitting,
    narrow,
    probes,
    resolve,
)
from search_spaces.declarations import Scalar
from trainers.config import TrainConfig
from trainers.errors import ConfigError
from trainers.registry import Part, find, known


class HalvingConfig(Part):
    """Successive halving: at `first_rung` steps, then at `eta` times as many, the best 1/eta of the trials go on."""

    enabled: bool = True
    first_rung: int = Field(1000, ge=1, le=10**9, description="steps")
    eta: int = Field(3, ge=2, le=1000)


Budget = Annotated[int, Field(ge=0, le=1000)]


class RetryConfig(Part):
    """How often a trial goes on elsewhere after a loss of each cause; a user's error is never tried again."""

    worker_lost: Budget = 3
    node_lost: Budget = 3
    preemption: Budget = 100  # no fault of the trial's
    host_memory: Budget = 1
    device_memory: Budget = 1
    checkpoint: Budget = 3


_KEEP_OUT = (
    "must not hold a password or a token, for the study keeps it: MLFLOW_TRACKING_USERNAME and "
    "MLFLOW_TRACKING_PASSWORD are for a server, PGPASSWORD or the like for a database, AWS_* for a bucket; a variant "
    "of your own reads what it needs from the environment"
)


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
    schedule: Literal["throughput", "reproducible"] = Field(
        "throughput",
        description="reproducible: asks and halving depend neither on how fast a worker is nor on what dies, as long "
        "as no trial uses up its `retries`",
    )
    max_hours: float | None = Field(None, gt=0)
    enqueue: tuple[dict[str, Scalar], ...] = Field((), description="configurations to try first")
    n_startup_trials: int = Field(
        8, ge=1, le=1_000_000, description="finished trials before which suggestions are random"
    )
    halving: HalvingConfig = HalvingConfig()
    retries: RetryConfig = RetryConfig()
    store: str = Field("./gansearch-store", min_length=1)
    tracking_uri: str | None = Field(None, min_length=1)
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

    @model_validator(mode="after")
    def _no_secret(self) -> SearchConfig:
        own = self.model_dump(mode="json", exclude={"train"})
        if key := key_of_secret({**own, **self.train}):
            raise ValueError(f"{key} {_KEEP_OUT}")
        return self

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
    return _build(*keys.merged({}, keys.from_file(file), keys.from_sets(sets), keys.from_options(options or {})))


def _build(values: Mapping[str, Any], sources: Mapping[str, str]) -> SearchConfig:
    space = _space(values.get("space", SearchConfig.model_fields["space"].default), sources)
    checked = keys.check_keys(values, _OWN_KEYS, space, sources)
    own = {key: value for key, value in checked.items() if split(key)[0] in _OWN_FIELDS}
    train = {key: value for key, value in checked.items() if key not in own}
    try:
        narrowed = narrow(space, train)
    except ContradictionError as error:
        others = f", such as {', '.join(names)}" if (names := fitting(train)) else ""
        raise ConfigError(located(f"{error}{others}", error.keys[0], sources)) from error
    if "enqueue" in own:
        own["enqueue"] = _enqueued(own["enqueue"], narrowed, sources)
    try:
        search = SearchConfig.model_validate({**keys.nest(own), "train": keys.nest(train)})
    except ValidationError as error:
        raise explain(error, sources) from error
    check_kinds(own, keys.flatten(search.model_dump(mode="json", exclude={"train", "enqueue"})), sources)
    _check_training(search, narrowed, train, sources)
    return search


def _space(name: Any, sources: Mapping[str, str]) -> Space | Union:
    with located_errors("space", sources):
        if not isinstance(name, str):
            raise ConfigError(f"space must be the name of a space, but got space={show(name)}")
        return find_space(name)


def _enqueued(entries: Any, space: Space | Union, sources: Mapping[str, str]) -> list[dict[str, Any]]:
    if not isinstance(entries, list | tuple) or not all(isinstance(entry, Mapping) for entry in entries):
        message = f"enqueue must be a list of mappings, but got enqueue={show(entries)}"
        raise ConfigError(located(message, "enqueue", sources))
    flat = [keys.flatten(entry) for entry in entries]
    for number, entry in enumerate(flat):
        try:
            check(space, entry)
        except ConfigError as error:
            key = str(error).split(maxsplit=1)[0].strip("'")  # its line, else that of the entry
            raise ConfigError(located(str(error), f"enqueue.{number}.{key}", sources)) from error
    return flat


def _check_training(
    search: SearchConfig, space: Space | Union, train: Mapping[str, Any], sources: Mapping[str, str]
) -> None:
    """Build every kind of training that the search may ask for, so that a bad key is found before any of them runs."""
    for params in probes(space):
        branch = branch_of(space, params)
        resolved = resolve(space, params)
        tried = {key: f"space {branch.name!r} tries it; set {key} to fix it" for key in resolved}
        places = tried | dict(sources)
        config = _train_config(search, space, params, 0, places)
        values = config.model_dump(mode="json")
        check_kinds({**resolved, **train}, keys.flatten(values), places)
        if key := key_of_secret(values):  # of the space's own: what the user wrote was looked at before
            raise ConfigError(located(f"{key} {_KEEP_OUT}", key, places))
        _check_metric(config, places)


def _check_metric(config: TrainConfig, sources: Mapping[str, str]) -> None:
    """Refuse a metric that nobody knows, or that cannot score what the data set is known to hold."""
    data = find("data", config.data.name)
    for name in config.metrics:
        with located_errors("metrics", sources):
            metric = find("metric", name)
            if None not in (metric.samples, data.samples) and metric.samples != data.samples:
                fitting = ", ".join(m.name for m in known("metric") if m.samples in (None, data.samples))
                why = f"{name} scores {metric.samples}, and data {data.name} holds {data.samples}"
                raise ConfigError(f"metrics must suit the data, but got metrics=[{name}]: {why} (known: {fitting})")


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
        raise explain(error, sources) from error


def vary_training(config: TrainConfig, sets: Sequence[str], options: Mapping[str, Any]) -> TrainConfig:
    """Return a training with the user's changes, in the same words as a search's; raises ConfigError as `load`."""
    base = keys.flatten(config.model_dump(mode="json"))
    values, sources = keys.merged(base, keys.from_sets(sets), keys.from_options(options))
    values = keys.check_keys(values, {"seed"}, None, sources)
    try:
        changed = TrainConfig.model_validate(keys.nest(values))
    except ValidationError as error:
        raise explain(error, sources) from error
    given = {key: values[key] for key in sources if key in values}
    check_kinds(given, keys.flatten(changed.model_dump(mode="json")), sources)
    _check_metric(changed, sources)
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
    return {**redact(own), **train, "searched": dict(_searched(space))}


def _searched(space: Space | Union) -> Iterator[tuple[str, dict[str, Any]]]:
    for branch in space.branches:
        dims = {dim.key: {k: v for k, v in vars(dim).items() if k != "key"} for dim in branch.dims}
        yield branch.name, json.loads(json.dumps(dims))
