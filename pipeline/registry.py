"""Let a generator into the model registry, if it passes the gates."""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from pipeline.book import Book, Trial
from pipeline.projection import GENERATOR, METRIC, SCORE, TRIAL_KEY, ModelVersion, trial_generator
from pipeline.records import ALIAS, NAME, StudyRecord, TrialState
from pipeline.store import Store
from trainers.errors import ConfigError, GansearchError, NotGoodEnough

Gate = dict[str, Any]  # {"gate": str, "passed": bool, "detail": str}
TRIED = 7  # samples drawn to see that a generator works; not the batch that it was traced with


class Registrar(Protocol):
    """The part of `pipeline.mlflow_store.MlflowTracker` that registering needs."""

    tracking_uri: str

    def version_by_alias(self, name: str, alias: str) -> ModelVersion | None:
        """Return the version that an alias names."""
        ...

    def log_generator(self, book: Book, trial: Trial) -> str:
        """Return the id of the model of a trial's best generator."""
        ...

    def drop_generator(self, book: Book, trial: Trial) -> None:
        """Remove that model, unless it is shown for another reason."""
        ...

    def create_version(self, book: Book, trial: Trial, model_id: str, name: str, gates: Sequence[Gate]) -> int:
        """Return the version that holds the model; it is made where it is missing."""
        ...


class GateRefused(NotGoodEnough):
    """A gate was not passed; `gates` holds all results, as `register --format json` prints them."""

    def __init__(self, message: str, gates: Sequence[Gate]) -> None:
        """Keep the gates beside the message."""
        super().__init__(message)
        self.gates = list(gates)


def register(
    tracker: Registrar,
    book: Book,
    store: Store,
    trial: Trial | None,
    *,
    name: str,
    alias: str,
    dry_run: bool,
    say: Callable[[str], None] = lambda _: None,
) -> dict[str, Any]:
    """Make a version of a trial's best generator, if every gate is passed; the alias is given by whoever records it.

    Args:
        tracker: of the study, up to date.
        book: of the study.
        store: that holds the generator; one that was collected is put back, for a registered one is kept.
        trial: None is the best one.
        name: of the registered model; made where it is missing.
        alias: in any case, kept in lower case.
        dry_run: only tell what the gates say.
        say: told one line for the user.

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
    gates = [*trial_gates(chosen), better_gate(book.study, chosen, champion)]
    refused = any(not gate["passed"] for gate in gates)
    drawn, weights = _draw_gate(book, store, chosen, (lambda _: None) if refused else say)
    gates.append(drawn)
    version = None
    if _is(champion, chosen):
        version = champion.version if champion else None
    elif not dry_run and all(gate["passed"] for gate in gates):
        store.put(weights)
        version = _serve(tracker, book, chosen, name, gates)
    _refuse(gates, chosen)
    return {"model": name, "version": version, "alias": alias, "gates": gates}


def _serve(tracker: Registrar, book: Book, trial: Trial, name: str, gates: list[Gate]) -> int:
    """Log the model, try it as a server would, and make a version of it; the result joins the gates."""
    model_id = tracker.log_generator(book, trial)
    gates.append(_serve_gate(tracker, model_id, trial_generator(book, trial)[1]))
    if not gates[-1]["passed"]:
        tracker.drop_generator(book, trial)
    _refuse(gates, trial)
    return tracker.create_version(book, trial, model_id, name, gates)


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
    try:
        theirs = float(tags[SCORE])
    except ValueError:
        theirs = math.nan
    if not math.isfinite(theirs):
        return _gate("better", False, f"version {champion.version}'s tag {SCORE} is no number, but {tags[SCORE]!r}")
    passed = trial.score is not None and trial.score < theirs
    return _gate("better", passed, f"{study.metric} {trial.score} against version {champion.version}'s {theirs}")


def samples_gate(gate: str, samples: npt.NDArray[np.float32], shape: tuple[int, ...]) -> Gate:
    """Return whether samples are finite and of the right shape."""
    if samples.shape[1:] != shape:
        return _gate(gate, False, f"samples must be {shape}, but are {samples.shape[1:]}")
    passed = bool(np.isfinite(samples).all())
    return _gate(gate, passed, f"{len(samples)} samples {'are all finite' if passed else 'hold NaN or infinity'}")


def _draw_gate(book: Book, store: Store, trial: Trial, say: Callable[[str], None]) -> tuple[Gate, bytes]:
    """Try the weights, before MLflow is given anything; return them too.

    Collected ones are trained again; where that gives others, those that were scored are gone, and so is the claim
    that the score makes.
    """
    from pipeline.rerun import weights_of
    from trainers.generate import load_generator, sample

    config = trial.spec.config
    try:
        digest, shape = trial_generator(book, trial)
        weights = weights_of(book, store, trial, say)
        generator = load_generator(config, shape, weights)
    except (GansearchError, RuntimeError) as error:  # torch raises RuntimeError where weights do not fit
        return _gate("draws", False, str(error)), b""
    if hashlib.sha256(weights).hexdigest() != digest:
        told = "its weights were collected, and training again here gave others; register it where it was trained"
        return _gate("draws", False, told), b""
    return samples_gate("draws", sample(generator, config, TRIED, seed=0), shape), weights


def _serve_gate(tracker: Registrar, model_id: str, shape: tuple[int, ...]) -> Gate:
    """Try the model as a server would, before an alias points to it."""
    from pipeline.models import draw

    try:
        samples = draw(f"models:/{model_id}", tracker.tracking_uri, TRIED, seed=0)
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


def _checked(name: str, alias: str) -> str:
    """Return the alias in lower case, for MLflow keeps `Champion` and `champion` apart."""
    if not re.fullmatch(NAME, name):
        raise ConfigError(f"--name must be 1 to 128 letters, digits, '.', '_' and '-', but got {name!r}")
    lower = alias.lower()
    if not re.fullmatch(ALIAS, lower) or lower == "latest" or re.fullmatch(r"v\d+", lower):
        rule = "must begin with a letter, hold letters, digits, '_' and '-', and not be 'latest' or 'v' with a number"
        raise ConfigError(f"--alias {rule}, but got {alias!r}")
    return lower
