"""What MLflow shall hold of a study: names, parameters, tags, metrics and notes, as values; imports no MLflow."""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pyarrow as pa

from pipeline.book import Book, Trial
from pipeline.records import Scalar, SegmentRecord, StudyRecord, TrialSpec, TrialState
from pipeline.safe_text import in_markdown, redact
from trainers.errors import GansearchError, NotGoodEnough
from trainers.stability.events import Event

STUDY_UID = "gansearch.study_uid"
TRIAL_KEY = "gansearch.trial_key"
GENERATOR = "gansearch.generator"  # the digest of the weights that a model was made from
SHOWN = "gansearch.shown"  # how far a run has come: a study's config digest, or a trial's number of segments
STATE = "gansearch.state"
FILES = "gansearch.files"  # the state whose files are all there
SCORE, METRIC = "gansearch.score", "gansearch.metric"
EVENTS = "events.json"  # the run's table of stability events
NOTE = "mlflow.note.content"
RUN_STATUS = {
    TrialState.RUNNING: "RUNNING",
    TrialState.SUSPENDED: "KILLED",
    TrialState.COMPLETED: "FINISHED",
    TrialState.PRUNED: "FINISHED",
    TrialState.DIVERGED: "FAILED",
    TrialState.FAILED: "FAILED",
}
NAMED_PARAMS = 4  # in a run's name
MAX_NAME = 120
MAX_TAG = 5000  # characters
LAYER = re.compile(r".+\.[0-9]+")  # such as grad_norm_d.3
MAX_DIGEST = 36  # MLflow's limit for a data set's digest
Outcome = Literal["running", "suspended", "finished"]


class TrackerGoneError(GansearchError):
    """What was shown before is not there any more; whoever begins anew shows all of it."""


@dataclass(frozen=True, kw_only=True)
class ModelVersion:
    """A version of a registered model: its number, and what was noted when it was made."""

    version: int
    tags: dict[str, str]


def milliseconds(at: float) -> int:
    """Return a record's time in whole milliseconds since 1970, the unit of MLflow's timestamps."""
    return round(at * 1000)


def flatten(config: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    """Return a configuration by dotted key; text as it is, every other value as JSON."""
    flat: dict[str, str] = {}
    for key, value in config.items():
        if isinstance(value, Mapping):
            flat |= flatten(value, f"{prefix}{key}.")
        else:
            flat[prefix + key] = value if isinstance(value, str) else json.dumps(value)
    return flat


def study_params(book: Book) -> dict[str, str]:
    """Return the parent run's parameters: the study's first configuration, since MLflow's parameters are immutable."""
    return flatten(redact(book.begun.config))


def trial_params(spec: TrialSpec) -> dict[str, str]:
    """Return a trial's parameters: its resolved configuration, and the branch of the space that was chosen."""
    branch = {"space": str(spec.params["space"])} if "space" in spec.params else {}
    return flatten(redact(spec.config.model_dump(mode="json"))) | branch


def run_name(spec: TrialSpec) -> str:
    """Return a name such as `017 wgan_gp lr_d=2e-4 lambda=9.1`: number, space or objective, first chosen values."""
    branch = spec.params.get("space", spec.config.objective.name)
    chosen = [
        f"{key.rpartition('.')[2]}={_short(value)}"
        for key, value in spec.params.items()
        if key not in ("space", "seed")
    ]
    return " ".join([f"{spec.number:03d}", str(branch), *chosen[:NAMED_PARAMS]])[:MAX_NAME]


def _short(value: Scalar) -> str:
    if not isinstance(value, float):
        return str(value)
    if value and abs(value) < 1e-2:  # noqa: PLR2004 - 2e-4 is easier to read than 0.0002, 0.5 than 5e-1
        mantissa, exponent = f"{value:.1e}".split("e")
        return f"{float(mantissa):g}e{int(exponent)}"
    return f"{value:.3g}"


def study_tags(book: Book, outcome: Outcome) -> dict[str, str]:
    """Return the parent run's tags: the counts, the best trial, and a note for a person."""
    study, best = book.begun, book.best
    tags = {f"gansearch.{state}": str(number) for state, number in book.counts.items()}
    tags |= {"gansearch.metric": study.metric, "gansearch.outcome": outcome, "gansearch.code": study.code}
    tags |= {f"gansearch.version.{name}": version for name, version in study.versions.items()}
    tags |= {f"gansearch.events.{kind}": str(told) for kind, (_, told) in event_counts(book).items()}
    if best is not None:
        tags |= {"gansearch.best_trial": str(best.number), "gansearch.best_score": f"{best.score:.6g}"}
    return tags | {NOTE: study_note(book, outcome)}


def study_note(book: Book, outcome: Outcome) -> str:
    """Return the parent run's description in Markdown: outcome, counts and best trials."""
    study = book.begun
    counts = ", ".join(f"{number} {state}" for state, number in book.counts.items())
    name, metric = in_markdown(study.study), in_markdown(study.metric)
    lines = [f"**{name}** is {outcome}: {counts}. The score is {metric}, lower is better.", ""]
    if book.ranking:
        lines += ["| trial | score | steps |", "|---|---|---|"]
        lines += [f"| {in_markdown(run_name(t.spec))} | {t.score:.4g} | {t.steps} |" for t in book.ranking[:10]]
    else:
        lines.append("No trial is completed yet.")
    if counted := event_counts(book):
        lines += ["", "| event | trials that it ended | trials that had it |", "|---|---|---|"]
        lines += [f"| {in_markdown(kind)} | {ended} | {told} |" for kind, (ended, told) in counted.items()]
    return "\n".join(lines)


def identity_tags(book: Book, trial: Trial | None) -> dict[str, str]:
    """Return the tags that `create_run` carries, by which a run is found again; `trial` None is the study."""
    tags = {STUDY_UID: book.begun.uid}
    return tags if trial is None else tags | {TRIAL_KEY: trial.spec.key, "gansearch.number": str(trial.number)}


def trial_tags(book: Book, trial: Trial) -> dict[str, str]:
    """Return a trial's tags as the study knows it now."""
    event = trial.event
    tags = {
        STATE: str(trial.state),
        "gansearch.attempts": str(len(trial.attempts)),
        "gansearch.origin": trial.spec.origin,
        "gansearch.data_digest": str(book.begun.data.get("digest", "")),
    }
    for cause in sorted({loss.cause for loss in trial.losses}):
        tags[f"gansearch.lost.{cause}"] = str(sum(loss.cause == cause for loss in trial.losses))
    if len({segment.result.environment for segment in trial.segments}) > 1:
        tags["gansearch.mixed"] = "true"  # it went on elsewhere: bits are promised on one kind of machine only
    if event is not None:
        tags |= {"gansearch.event": event.kind, "gansearch.event_step": str(event.step)}
    if found := events(trial):
        tags |= {"gansearch.first_event": found[0].kind, "gansearch.first_event_step": str(found[0].step)}
        tags |= {"gansearch.first_event_action": found[0].action, "gansearch.events": _kinds(found)}
    if trial.state.final:
        tags["mlflow.loggedArtifacts"] = json.dumps([{"path": EVENTS, "type": "table"}])
    if trial.decision is not None:
        tags[NOTE] = in_markdown(
            " ".join(dict.fromkeys(filter(None, [trial.decision.reason, event.message if event else ""])))
        )
    return tags


def _kinds(found: Sequence[Event]) -> str:
    """Return the kinds of events, so that MLflow finds one by `tags."gansearch.events" LIKE '%oscillation%'`."""
    return ",".join(sorted({event.kind for event in found}))[:MAX_TAG]


def event_counts(book: Book) -> dict[str, tuple[int, int]]:
    """Return, by kind of event, how many trials it ended and how many had it, the most frequent first."""
    ended = Counter(trial.event.kind for trial in book.trials.values() if trial.event is not None)
    told = Counter(kind for trial in book.trials.values() for kind in {event.kind for event in events(trial)})
    return {kind: (ended[kind], number) for kind, number in sorted(told.items(), key=lambda one: (-one[1], one[0]))}


def segment_metrics(history: pa.Table, record: SegmentRecord) -> dict[str, float]:
    """Return one segment's metrics by MLflow key; every value is finite.

    Args:
        history: a row a step; each column but `step` is a signal, null where it has no value.
        record: of the same segment.

    Returns:
        `<signal>/mean`, `/max` and `/last` of the finite values, of a layer's signals the mean alone;
            `non_finite/<signal>`, the number of steps whose value is NaN or infinite, where there are any (MLflow would
            store an infinity as 1.8e308, which ruins a chart's scale); `score/<metric>` for the first score and
            `extra/<name>` for the others; `seconds`.
    """
    metrics: dict[str, float] = {}
    for name in history.column_names:
        if name == "step":
            continue
        values = history[name].drop_null().to_numpy().astype(np.float64)
        finite = values[np.isfinite(values)]
        if finite.size and LAYER.fullmatch(name):
            metrics[f"{name}/mean"] = finite.mean()
        elif finite.size:
            metrics |= {f"{name}/mean": finite.mean(), f"{name}/max": finite.max(), f"{name}/last": finite[-1]}
        if finite.size < values.size:
            metrics[f"non_finite/{name}"] = values.size - finite.size
    for index, (name, score) in enumerate(record.result.scores.items()):
        metrics[f"{'extra' if index else 'score'}/{name}"] = score
    metrics["seconds"] = record.result.seconds
    return {key: float(value) for key, value in metrics.items() if math.isfinite(value)}


def segments_shown(tag: str) -> int:
    """Return how many segments a run's tag says are shown; none where somebody wrote something else into it."""
    return int(tag) if re.fullmatch(r"[0-9]{1,9}", tag) else 0


def events(trial: Trial) -> list[Event]:
    """Return every stability event of a trial, in order, each once."""
    found = [event for segment in trial.segments for event in segment.result.events]
    if trial.event is not None and trial.event not in found:
        found.append(trial.event)
    return found


def data_input(study: StudyRecord) -> dict[str, str]:
    """Return name, digest, source and profile of the study's data set, within MLflow's limits."""
    data = study.data
    return {
        "name": str(data.get("name", "data")),
        "digest": str(data.get("digest", ""))[:MAX_DIGEST],
        "source_type": "gansearch",
        "source": json.dumps({"name": data.get("name")}),
        "profile": json.dumps(data),
    }


def outcome_of(book: Book) -> Outcome:
    """Return how a study that nobody is working on stands: finished once its budget was used up, and not raised."""
    used_up = book.finished >= int(book.config.get("trials", 0))
    return "finished" if book.finishes and used_up else "suspended"


def ended_at(book: Book) -> float:
    """Return when the last thing happened that the study's run tells of, in seconds since 1970."""
    times = [book.begun.at, *(finish.at for finish in book.finishes)]
    for trial in book.trials.values():
        times += [record.at for record in (*trial.attempts[-1:], *trial.segments[-1:])]
        times += [] if trial.decision is None else [trial.decision.at]
    return max(times)


def generators(book: Book) -> list[Trial]:
    """Return the trials whose best generators are shown: those that were among the best at an end, and registered ones.

    What is collected as garbage is not among them, so each can be shown again from the store alone.
    """
    named = {number for finish in book.finishes for number in finish.best} | {r.trial for r in book.registrations}
    trials = [book.trials[number] for number in sorted(named)]
    return [trial for trial in trials if trial.best is not None and trial.best.result.generator is not None]


def version_tags(book: Book, trial: Trial, gates: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """Return the tags of a registered model's version: whose generator it is, how good, and why it was let in."""
    return {
        TRIAL_KEY: trial.spec.key,
        SCORE: repr(trial.score),
        METRIC: book.begun.metric,
        GENERATOR: trial_generator(book, trial)[0],
        "gansearch.gates": json.dumps(list(gates)),
    }


def version_note(book: Book, trial: Trial) -> str:
    """Return a version's description for a person."""
    study = book.begun
    told = f"Study {study.study}, trial {run_name(trial.spec)}: {study.metric} {trial.score} at {trial.steps} steps."
    return in_markdown(told)


def trial_generator(book: Book, trial: Trial) -> tuple[str, tuple[int, ...]]:
    """Return the blob of a trial's best EMA generator, and the shape of one sample.

    Raises:
        NotGoodEnough: the trial has no segment that was scored and kept its generator.
    """
    weights = trial.best.result.generator if trial.best is not None else None
    if weights is None:
        raise NotGoodEnough(f"trial {trial.number} has no generator; it needs one evaluated segment")
    return weights, tuple(book.begun.data["shape"])
