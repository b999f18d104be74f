"""Let a generator into the model registry, if it passes the gates."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from pipeline.book import Book, Trial
from pipeline.projection import GENERATOR, TRIAL_KEY, ModelVersion, run_name, trial_generator
from pipeline.records import StudyRecord, TrialState
from pipeline.store import Store
from trainers.errors import ConfigError, GansearchError, NotGoodEnough

Gate = dict[str, Any]  # {"gate": str, "passed": bool, "detail": str}
SCORE, METRIC = "gansearch.score", "gansearch.metric"
TRIED = 7  # samples drawn to see that a generator works; not the batch that it was traced with
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
_ALIAS = re.compile(r"[a-z][a-z0-9_-]{0,127}")


class Registrar(Protocol):
    """The part of `pipeline.mlflow_store.Tracker` that registering needs."""

    tracking_uri: str

    def log_generator(self, book: Book, trial: Trial) -> str:
        """Return the URI of the model of a trial's best generator."""
        ...

    def version_by_alias(self, name: str, alias: str) -> ModelVersion | None:
        """Return the version that an alias names."""
        ...

    def publish(self, name: str, alias: str, model_uri: str, tags: dict[str, str], description: str) -> int:
        """Let an alias name the version that holds a logged model."""
        ...


class GateRefused(NotGoodEnough):
    """A gate was not passed; `gates` holds all results, as `register --format json` prints them."""

    def __init__(self, message: str, gates: Sequence[Gate]) -> None:
        """Keep the gates beside the message."""
        super().__init__(message)
        self.gates = list(gates)


def register(
    tracker: Registrar, book: Book, store: Store, trial: Trial | None, *, name: str, alias: str, dry_run: bool
) -> dict[str, Any]:
    """Register a trial's best generator and give it the alias, if every gate is passed.

    Args:
        tracker: of the study, up to date.
        book: of the study.
        store: that holds the generator.
        trial: None is the best one.
        name: of the registered model; made where it is missing.
        alias: in any case, kept in lower case.
        dry_run: only tell what the gates say.

    Returns:
        `{"model", "version", "alias", "gates"}`; version is None in a dry run, and that of the champion where the trial
        is the champion already, which changes nothing.

    Raises:
        ConfigError: the name or the alias cannot be used.
        GateRefused: a gate was not passed; nothing is registered.
        NotGoodEnough: no trial is given, and none is completed.
    """
    alias = _checked(name, alias)
    chosen = trial or book.best
    if chosen is None or book.study is None:
        raise NotGoodEnough("no trial is completed, so there is nothing to register")
    champion = tracker.version_by_alias(name, alias)
    gates = [*trial_gates(chosen), better_gate(book.study, chosen, champion), _draw_gate(book, store, chosen)]
    version = None
    if _is(champion, chosen):
        version = champion.version if champion else None
    elif not dry_run and all(gate["passed"] for gate in gates):
        uri = tracker.log_generator(book, chosen)
        gates.append(_serve_gate(tracker, uri, trial_generator(book, chosen)[1]))
        _refuse(gates, chosen)
        version = tracker.publish(name, alias, uri, _tags(book, chosen, gates), _description(book.study, chosen))
    _refuse(gates, chosen)
    return {"model": name, "version": version, "alias": alias, "gates": gates}


def trial_gates(trial: Trial) -> list[Gate]:
    """Return what can be said of a trial by itself: completed, stable, and with a finite score."""
    event, score = trial.event, trial.score
    steps = f"{trial.state} after {trial.steps} of {trial.spec.config.steps} steps"
    stopped = "no event stopped it" if event is None else f"{event.kind} at step {event.step}: {event.message}"
    return [
        _gate("completed", trial.state is TrialState.COMPLETED, steps),
        _gate("stable", event is None, stopped),
        _gate("finite", score is not None and math.isfinite(score), f"score {score}"),
    ]


def better_gate(study: StudyRecord, trial: Trial, champion: ModelVersion | None) -> Gate:
    """Return whether a trial's score is below the champion's; another metric's score cannot be compared, and passes."""
    if champion is None:
        return _gate("better", True, "there is no champion yet")
    tags = champion.tags
    if tags.get(TRIAL_KEY) == trial.spec.key:
        return _gate("better", True, f"it is the champion already, as version {champion.version}")
    if tags.get(METRIC) != study.metric or SCORE not in tags:
        return _gate("better", True, f"the champion's metric is {tags.get(METRIC)}, not {study.metric}: not compared")
    theirs = float(tags[SCORE])
    passed = trial.score is not None and trial.score < theirs
    return _gate("better", passed, f"{study.metric} {trial.score} against version {champion.version}'s {theirs}")


def samples_gate(gate: str, samples: npt.NDArray[np.float32], shape: tuple[int, ...]) -> Gate:
    """Return whether samples are finite and of the right shape."""
    if samples.shape[1:] != shape:
        return _gate(gate, False, f"samples must be {shape}, but are {samples.shape[1:]}")
    passed = bool(np.isfinite(samples).all())
    return _gate(gate, passed, f"{len(samples)} samples {'are all finite' if passed else 'hold NaN or infinity'}")


def _draw_gate(book: Book, store: Store, trial: Trial) -> Gate:
    """Try the stored weights, before MLflow is given anything."""
    from trainers.generate import load_generator, sample

    config = trial.spec.config
    try:
        weights, shape = trial_generator(book, trial)
        generator = load_generator(config, shape, store.get(weights))
    except (GansearchError, RuntimeError) as error:  # torch raises RuntimeError where weights do not fit
        return _gate("draws", False, str(error))
    return samples_gate("draws", sample(generator, config, TRIED, seed=0), shape)


def _serve_gate(tracker: Registrar, model_uri: str, shape: tuple[int, ...]) -> Gate:
    """Try the model as a server would, before an alias points to it."""
    from pipeline.models import draw

    try:
        samples = draw(model_uri, tracker.tracking_uri, TRIED, seed=0)
    except GansearchError as error:
        return _gate("serves", False, str(error))
    return samples_gate("serves", samples, shape)


def _gate(gate: str, passed: bool, detail: str) -> Gate:
    return {"gate": gate, "passed": passed, "detail": detail}


def _refuse(gates: Sequence[Gate], trial: Trial) -> None:
    if refused := [f"{gate['gate']} ({gate['detail']})" for gate in gates if not gate["passed"]]:
        raise GateRefused(f"trial {trial.number} is not registered, for it is not {'; not '.join(refused)}", gates)


def _is(champion: ModelVersion | None, trial: Trial) -> bool:
    if champion is None or champion.tags.get(TRIAL_KEY) != trial.spec.key:
        return False
    return trial.best is not None and champion.tags.get(GENERATOR) == trial.best.result.generator


def _tags(book: Book, trial: Trial, gates: Sequence[Gate]) -> dict[str, str]:
    metric = book.study.metric if book.study else ""
    return {
        TRIAL_KEY: trial.spec.key,
        SCORE: repr(trial.score),
        METRIC: metric,
        GENERATOR: trial_generator(book, trial)[0],
        "gansearch.gates": json.dumps(list(gates)),
    }


def _description(study: StudyRecord, trial: Trial) -> str:
    return f"Study {study.study}, trial {run_name(trial.spec)}: {study.metric} {trial.score} at {trial.steps} steps."


def _checked(name: str, alias: str) -> str:
    """Return the alias in lower case, for MLflow keeps `Champion` and `champion` apart."""
    if not _NAME.fullmatch(name):
        raise ConfigError(f"--name must be 1 to 128 letters, digits, '.', '_' and '-', but got {name!r}")
    lower = alias.lower()
    if not _ALIAS.fullmatch(lower) or lower == "latest" or re.fullmatch(r"v\d+", lower):
        rule = "must begin with a letter, hold letters, digits, '_' and '-', and not be 'latest' or 'v' with a number"
        raise ConfigError(f"--alias {rule}, but got {alias!r}")
    return lower
