"""Pure decisions: halving, stop, retry, order of results, what may be discarded."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from pipeline.book import Book, Trial
from pipeline.config import HalvingConfig, RetryConfig
from pipeline.records import Cause, DecisionRecord, LossRecord, SegmentResult, TrialState
from trainers.errors import GansearchError, IntegrityError, NotGoodEnough, UserError
from trainers.stability.events import Event

FAILURES_IN_A_ROW = 3
KEPT = 3  # completed trials whose generators stay


def rungs(halving: HalvingConfig, steps: int) -> tuple[int, ...]:
    """Return the steps below the budget at which trials are compared: first_rung times powers of eta."""
    found, rung = [], halving.first_rung
    while halving.enabled and rung < steps:
        found.append(rung)
        rung *= halving.eta
    return tuple(found)


def score_at(trial: Trial, rung: int, by: int | None = None) -> float | None:
    """Return a trial's best score up to the first segment that reaches the rung, or None where it did not get there.

    Args:
        trial: of the study.
        rung: steps.
        by: a segment whose place in the journal comes later does not count: a verdict is the same whenever it is
            asked for, and whatever the clock says.
    """
    best: float | None = None
    for segment, place in zip(trial.segments, trial.order, strict=True):
        score = segment.result.score
        if score is not None and (best is None or score < best):
            best = score
        if segment.result.stop >= rung:
            return best if by is None or place <= by else None
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
        own, by = score_at(trial, rung), trial.order[-1]
        scores = [score for other in others if (score := score_at(other, rung, by)) is not None]
        if own is not None and not survives(own, scores, halving.eta):
            return TrialState.PRUNED
    return TrialState.RUNNING


def reason(state: TrialState, result: SegmentResult, halving: HalvingConfig) -> str:
    """Return why a verdict is final, for a person."""
    if state is TrialState.DIVERGED:
        return result.stopping.message if result.stopping else ""
    if state is TrialState.PRUNED:
        return f"not in the best 1/{halving.eta} at step {result.stop}"
    return f"trained {result.stop} steps"


def final(
    trial: Trial, state: TrialState, reason: str, *, at: float, event: Event | None = None, traceback: str = ""
) -> DecisionRecord:
    """Return the decision that ends a trial with the score of its best segment so far."""
    best = trial.best
    return DecisionRecord(
        at=at,
        trial=trial.number,
        state=state,
        reason=reason,
        event=event,
        score=None if best is None else best.result.score,
        best_index=None if best is None else best.index,
        traceback=traceback,
    )


def suspensions(trials: Iterable[Trial], *, at: float) -> list[DecisionRecord]:
    """Return what says of trials that are not final that they wait for the next driver, where nothing says so yet."""
    state, reason = TrialState.SUSPENDED, "the search was stopped"
    running = [trial.number for trial in trials if trial.state is not state]
    return [DecisionRecord(at=at, trial=number, state=state, reason=reason) for number in running]


def may_decide(trial: Trial, result: SegmentResult, halving: HalvingConfig) -> bool:
    """Tell whether the verdict after a segment may be a final state; it is asked before the segment is committed."""
    steps = trial.spec.config.steps
    passed = any(result.start < rung <= result.stop for rung in rungs(halving, steps))
    return passed or result.stopping is not None or result.stop >= steps


def may_retry(cause: Cause, losses: Sequence[LossRecord], retries: RetryConfig) -> bool:
    """Tell whether a trial goes on after a loss, `losses` being all that it had, this one included."""
    budget = getattr(retries, cause, 0)  # a user's error has none
    return sum(loss.cause == cause for loss in losses) <= budget


def hopeless(ended: Sequence[Trial]) -> bool:
    """Tell whether the trials that ended last all failed, so that asking for more would only burn time."""
    latest = [trial.state for trial in ended[-FAILURES_IN_A_ROW:]]
    return latest == [TrialState.FAILED] * FAILURES_IN_A_ROW


def ends_search(number: int, cause: Cause, detail: str, ended: Sequence[Trial]) -> GansearchError | None:
    """Return the error that ends the search once a trial has failed, or None where it goes on.

    Args:
        number: of the trial.
        cause: of the loss that it failed of.
        detail: of that loss.
        ended: the trials that have ended, this one the last.
    """
    if cause == "user_error":
        return UserError(f"trial {number} failed: {detail} (`gansearch show {number}` tells more)")
    if hopeless(ended):
        return NotGoodEnough(f"the last {FAILURES_IN_A_ROW} trials failed, the latest of: {detail}")
    return None


def discardable(trial: Trial) -> tuple[str, ...]:
    """Return the blobs that a trial does not need which goes on, each once.

    The last two checkpoints that can be used stay, however many segments lie between them, and the generator of the
    best segment; histories and samples always stay. What is gone already is named again: a segment that is trained
    again from an older checkpoint puts its blobs once more, and a driver may have died before it discarded anything.
    """
    weights = [s.result.checkpoint for s in trial.segments] + [s.result.generator for s in trial.segments]
    kept = {*(digest for digest, _ in trial.usable), trial.best.result.generator if trial.best else None}
    return tuple(digest for digest in dict.fromkeys(weights) if digest is not None and digest not in kept)


def to_name(book: Book, trials: int) -> tuple[int, ...] | None:
    """Return the best trials, the best first, where a budget of `trials` is used up and they are not named yet."""
    best = tuple(trial.number for trial in book.ranking[:KEPT])
    named = book.finishes[-1].best if book.finishes else None
    over = book.finished >= trials and all(trial.state.final for trial in book.trials.values())
    return best if over and best != named else None


def kept(book: Book) -> set[int]:
    """Return the trials whose generator stays: the best now, the best whenever a budget was used up, the registered."""
    named = {number for record in book.finishes for number in record.best}
    return named | {trial.number for trial in book.ranking[:KEPT]} | {r.trial for r in book.registrations}


def collected(book: Book, trial: Trial) -> bool:
    """Tell whether a trial's generator was collected as garbage: whoever wants it must train it again."""
    return trial.state.final and trial.number not in kept(book)


def garbage(trial: Trial, *, keep: bool) -> tuple[str, ...]:
    """Return the blobs that a final trial does not need: checkpoints, and generators, but the best where it is kept."""
    best = trial.best.result.generator if trial.best is not None and keep else None
    weights = (digest for s in trial.segments for digest in (s.result.checkpoint, s.result.generator))
    return tuple(dict.fromkeys(digest for digest in weights if digest is not None and digest != best))


def committed_before(trial: Trial, result: SegmentResult, since: int = 0) -> bool:
    """Tell whether a segment is a committed one that was trained again.

    Args:
        trial: whose newest attempt trained it.
        result: the segment.
        since: what lies before this place in the journal may have been trained by other code.

    Raises:
        IntegrityError: it is, but did not come out the same, though all that its attempt trained again came from the
            same environment and code. Where one segment did not, those behind it began from other bits.
    """
    committed = next((s.result for s in trial.segments if s.result.stop == result.stop), None)
    if committed is not None and _from_the_same(trial, result, since):
        for what in ("history", "scores", "events", "samples", "generator", "checkpoint"):
            before, got = getattr(committed, what), getattr(result, what)
            if before != got:
                raise IntegrityError(
                    f"trial {trial.number}, trained again from its checkpoint to step {result.stop}, "
                    f"gave {what} {got}, but {before} was committed"
                )
    return committed is not None


def _from_the_same(trial: Trial, result: SegmentResult, since: int) -> bool:
    """Tell whether all that the newest attempt trained again up to a segment came from this environment and code."""
    begun = min([result.start, *(attempt.step for attempt in trial.attempts[-1:])])
    before = zip(trial.segments, trial.order, strict=True)
    again = [(s.result, place) for s, place in before if begun < s.result.stop <= result.stop]
    return all(was.environment == result.environment and place >= since for was, place in again)
