"""The story of a trial in a few lines: how it went, what befell it, and what to change."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from pipeline.advice import ADVICE, advice
from pipeline.book import Trial
from pipeline.projection import events, run_name
from pipeline.records import TrialState
from trainers.errors import ConfigError, nearest
from trainers.registry import known
from trainers.stability.events import Event


def story(trial: Trial, metric: str) -> list[str]:
    """Return a trial's story, a sentence or an event a line.

    Args:
        trial: as the study's book has it.
        metric: the name of its score.
    """
    lines = [f"trial {run_name(trial.spec)}: {trial.state.value} after {trial.steps:,} steps", *_scores(trial, metric)]
    found = events(trial)
    for event in found:
        lines.append(
            f"step {event.step:>6}  {event.kind} ({event.action}, severity {event.severity:.2g}): {event.message}"
        )
    if not found and trial.state is not TrialState.FAILED:
        lines.append("no detector saw anything")
    if trial.decision is not None and trial.decision.reason and trial.event is None:
        how = "it ended" if trial.state.final else "it waits for the same command, which goes on"
        lines.append(f"{how}: {trial.decision.reason}")
    return [*lines, *_advised(trial, found)]


def _advised(trial: Trial, found: Sequence[Event]) -> list[str]:
    """Return what to change: of a trial that an event ended, after that and after what was as severe before it."""
    ended = trial.event
    weighed = found if ended is None else [e for e in found if e == ended or e.severity >= ended.severity]
    told = dict.fromkeys(event.kind for event in ([] if ended is None else [ended]) + list(weighed))
    return [f"what to change after {kind}: {text}" for kind in told if (text := advice(kind)) is not None]


def _scores(trial: Trial, metric: str) -> list[str]:
    scored = [(s.result.stop, s.result.scores[metric]) for s in trial.segments if metric in s.result.scores]
    if not scored:
        return ["it was never scored"]
    told = [f"{scored[0][1]:.4g} at step {scored[0][0]:,}"]
    best = min(scored, key=lambda one: one[1])
    if best not in (scored[0], scored[-1]):
        told.append(f"best {best[1]:.4g} at step {best[0]:,}")
    if len(scored) > 1:
        told.append(f"{scored[-1][1]:.4g} at step {scored[-1][0]:,}")
    return [f"{metric}: {', '.join(told)}"]


def having(trials: Iterable[Trial], kind: str) -> list[tuple[Trial, Event]]:
    """Return the trials that had an event of a kind, whether it ended them or not, each with its first.

    Raises:
        ConfigError: no detector has that name, and no trial such an event.
    """
    told = [(trial, events(trial)) for trial in trials]
    kinds = {variant.name for variant in known("detector")} | set(ADVICE) | {e.kind for _, some in told for e in some}
    if kind not in kinds:
        names = ", ".join(sorted(kinds))
        raise ConfigError(f"--event: unknown kind {kind!r}{nearest(kind, kinds)} (known: {names})")
    first = [(trial, next((event for event in some if event.kind == kind), None)) for trial, some in told]
    return [(trial, event) for trial, event in first if event is not None]
