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


def score_at(segments: Sequence[SegmentRecord], rung: int) -> float | None:
    """Return a trial's best score up to the first segment that reaches the rung, or None where it did not get there."""
    best: float | None = None
    for segment in segments:
        score = segment.result.score
        if score is not None and (best is None or score < best):
            best = score
        if segment.result.stop >= rung:
            return best
    return None


def survives(own: float, others: Sequence[float], eta: int) -> bool:
    """Tell whether a score is in the best 1/eta of those at its rung (asynchronous successive halving, Li et al. 2020).

    Args:
        own: the trial's score, lower is better.
        others: scores of all other trials that reached the rung so far.
        eta: with fewer than eta scores nobody is stopped.
    """
    together = len(others) + 1
    if together < eta:
        return True
    better = sum(other < own for other in others)
    return better < max(1, together // eta)


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
        scores = [score for other in others if (score := score_at(other.segments, rung)) is not None]
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
    """Return the blobs that the newest segment makes superfluous.

    The last two checkpoints stay, and the generator of the best segment; histories and samples always stay.
    """
    if not segments:
        return ()
    kept = {s.result.checkpoint for s in segments[-2:]} | ({best.result.generator} if best else set())
    old = [s.result.checkpoint for s in segments[-3:-2]] + [s.result.generator for s in segments]
    return tuple(digest for digest in dict.fromkeys(old) if digest is not None and digest not in kept)
