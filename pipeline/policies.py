"""Pure decisions: halving, stop, retry, what may be discarded."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from pipeline.book import Trial
from pipeline.config import HalvingConfig, RetryConfig
from pipeline.ports import Cause
from pipeline.records import LossRecord, SegmentRecord, SegmentResult, TrialState

FAILURES_IN_A_ROW = 3


def rungs(halving: HalvingConfig, steps: int) -> tuple[int, ...]:
    """Return the steps below the budget at which trials are compared: first_rung times powers of eta."""
    found, rung = [], halving.first_rung
    while halving.enabled and rung < steps:
        found.append(rung)
        rung *= halving.eta
    return tuple(found)


def score_at(segments: Sequence[SegmentRecord], rung: int, by: float = float("inf")) -> float | None:
    """Return a trial's best score up to the first segment that reaches the rung, or None where it did not get there.

    Args:
        segments: of the trial.
        rung: steps.
        by: a segment that was committed later does not count: a verdict is the same whenever it is asked for.
    """
    best: float | None = None
    for segment in segments:
        score = segment.result.score
        if score is not None and (best is None or score < best):
            best = score
        if segment.result.stop >= rung:
            return best if segment.at <= by else None
    return None


def survives(own: float, others: Sequence[float], eta: int) -> bool:
    """Tell whether a score is in the best 1/eta of those at its rung (asynchronous successive halving, Li et al. 2020).

    Args:
        own: the trial's score, lower is better.
        others: scores of all other trials that reached the rung so far; the best of fewer than eta goes on.
        eta: at least 2.
    """
    better = sum(other < own for other in others)
    return better < max(1, (len(others) + 1) // eta)


def verdict(trial: Trial, result: SegmentResult, others: Iterable[Trial], halving: HalvingConfig) -> TrialState:
    """Return what becomes of a trial after a segment that is already part of it.

    Args:
        trial: with the segment as its last one.
        result: the segment.
        others: the study's other trials.
        halving: rungs and eta.

    Returns:
        RUNNING to go on, or a final state.
    """
    if result.stopping is not None:
        return TrialState.DIVERGED
    if result.stop >= trial.spec.config.steps:
        return TrialState.COMPLETED
    passed = [rung for rung in rungs(halving, trial.spec.config.steps) if result.start < rung <= result.stop]
    for rung in passed:
        own = score_at(trial.segments, rung)
        by = trial.segments[-1].at
        scores = [score for other in others if (score := score_at(other.segments, rung, by)) is not None]
        if own is not None and not survives(own, scores, halving.eta):
            return TrialState.PRUNED
    return TrialState.RUNNING


def may_retry(cause: Cause, losses: Sequence[LossRecord], retries: RetryConfig) -> bool:
    """Tell whether a trial goes on after a loss, `losses` being all that it had, this one included."""
    budget: Mapping[str, int] = {"worker_lost": retries.worker_lost, "out_of_memory": retries.out_of_memory}
    return sum(loss.cause == cause for loss in losses) <= budget.get(cause, 0)


def hopeless(final_states: Sequence[TrialState]) -> bool:
    """Tell whether the latest trials all failed, so that asking for more would only burn time."""
    latest = final_states[-FAILURES_IN_A_ROW:]
    return len(latest) == FAILURES_IN_A_ROW and all(state is TrialState.FAILED for state in latest)


def discardable(segments: Sequence[SegmentRecord], best: SegmentRecord | None) -> tuple[str, ...]:
    """Return the blobs that a trial with these segments does not need, each once.

    The last two checkpoints stay, however many segments lie between them, and the generator of the best segment;
    histories and samples always stay. What is gone already is named again: a segment that is trained again from an
    older checkpoint puts its generator once more, and a driver may have died before it discarded anything.
    """
    checkpoints = [s.result.checkpoint for s in segments if s.result.checkpoint is not None]
    generators = [s.result.generator for s in segments if s.result.generator is not None]
    kept = {*checkpoints[-2:], best.result.generator if best else None}
    return tuple(digest for digest in dict.fromkeys(checkpoints[:-2] + generators) if digest not in kept)
