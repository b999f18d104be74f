"""The loop: ask, start, next, commit, decide, tell. Names no library, fits one screen."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import Protocol

from pipeline import policies
from pipeline.book import Book, Trial
from pipeline.config import SearchConfig, train_config, trial_seed
from pipeline.ledger import Ledger
from pipeline.ports import Executor, Job, Loss
from pipeline.records import (
    AttemptRecord,
    DecisionRecord,
    LossRecord,
    Origin,
    Record,
    Scalar,
    SegmentRecord,
    SegmentResult,
    TrialRecord,
    TrialSpec,
    TrialState,
)
from trainers.checks import refusals
from trainers.errors import GansearchError, IntegrityError, UserError

TICK = 0.5  # seconds between two looks at whether to stop


class Asker(Protocol):
    """Whatever suggests parameters."""

    def ask(self, number: int, trials: list[Trial]) -> dict[str, Scalar]:
        """Return the parameters of trial `number`, given all earlier ones."""

    def origin(self, number: int) -> Origin:
        """Return where the parameters of trial `number` come from."""


class Search:
    """One driver's work on a study, from where the ledger stands to the budget.

    Args:
        config: of the search.
        ledger: the study's, open for writing, its study record committed.
        executor: with warm workers.
        asker: suggests parameters.
        discard: removes a blob that nothing needs any more.
        should_stop: asked often; True suspends the search.
        tick: called often, with the state of the study; brings records of others, such as run ids.
    """

    def __init__(
        self,
        *,
        config: SearchConfig,
        ledger: Ledger,
        executor: Executor,
        asker: Asker,
        discard: Callable[[str], None],
        should_stop: Callable[[], bool],
        tick: Callable[[Book], list[Record]],
    ) -> None:
        self._config = config
        self._ledger = ledger
        self._executor = executor
        self._asker = asker
        self._discard = discard
        self._should_stop = should_stop
        self._tick = tick
        self._idle = deque(executor.workers)
        self._busy: dict[str, int] = {}  # the trial that each worker is training
        self._waiting: deque[int] = deque()  # trials to go on with

    def run(self) -> bool:
        """Run until the budget is used up, or until asked to stop; return whether the budget is used up."""
        try:
            self._pick_up()
            while True:
                if not self._should_stop():
                    self._fill()
                if not self._busy:
                    break
                self._collect()
                self._append(*self._tick(self._book))
        except BaseException:
            with suppress(GansearchError):  # the first error is the one to tell
                self._suspend()
            raise
        self._suspend()
        return self._book.finished >= self._config.trials

    @property
    def _book(self) -> Book:
        return self._ledger.book

    def _append(self, *records: Record) -> None:
        if records:
            self._ledger.append(*records)

    def _pick_up(self) -> None:
        """Take over the trials that an earlier driver left, perhaps between what decides a trial and its decision."""
        for number in self._unfinished():
            self._tidy(number)
            segments = self._book.trials[number].segments
            decided = self._decide(number, segments[-1].result) if segments else self._refuse(number)
            if not decided:
                self._waiting.append(number)

    def _unfinished(self) -> list[int]:
        return [trial.number for trial in self._book.trials.values() if not trial.state.final]

    def _fill(self) -> None:
        """Give every idle worker a trial, while there are any to train."""
        while self._idle and (number := self._next_trial()) is not None:
            worker, trial = self._idle.popleft(), self._book.trials[number]
            checkpoint, step = trial.checkpoint or (None, 0)
            attempt = len(trial.attempts)
            self._append(AttemptRecord(at=time.time(), trial=number, attempt=attempt, worker=worker, step=step))
            extractor = self._book.study.extractor if self._book.study else None
            job = Job(spec=trial.spec, attempt=attempt, checkpoint=checkpoint, extractor=extractor)
            self._executor.start(worker, job)
            self._busy[worker] = number

    def _next_trial(self) -> int | None:
        if self._waiting:
            return self._waiting.popleft()
        while self._book.finished + len(self._unfinished()) < self._config.trials:
            number = self._ask()
            if not self._refuse(number):
                return number
        return None

    def _ask(self) -> int:
        number, trials = len(self._book.trials), list(self._book.trials.values())
        params = self._asker.ask(number, trials)
        config = train_config(self._config, params, trial_seed(self._config.seed, number))
        uid = self._book.study.uid if self._book.study else ""
        origin = self._asker.origin(number)
        spec = TrialSpec(number=number, key=f"{uid}/{number}", params=params, config=config, origin=origin)
        self._append(TrialRecord(at=time.time(), spec=spec))
        return number

    def _refuse(self, number: int) -> bool:
        """Decide a trial that a static check refuses, without training a step; the search goes on."""
        stops = [event for event in refusals(self._book.trials[number].spec.config) if event.action == "stop"]
        for event in stops[:1]:
            self._finish(number, TrialState.DIVERGED, event.message, event=event)
        return bool(stops)

    def _collect(self) -> None:
        """Commit what has arrived in one write, then act on each."""
        answers = [(worker, self._busy.pop(worker), answer) for worker, answer in self._executor.next(TICK)]
        self._append(*(r for _, number, answer in answers for r in _committed(self._book.trials[number], answer)))
        for worker, number, answer in answers:
            if isinstance(answer, Loss):
                self._lose(worker, number, answer)
            else:
                self._go_on(worker, number, answer)

    def _go_on(self, worker: str, number: int, result: SegmentResult) -> None:
        trial = self._book.trials[number]
        self._tidy(number)
        if (result.stop == trial.steps and self._decide(number, result)) or self._should_stop():
            self._idle.append(worker)
        else:
            self._executor.advance(worker)
            self._busy[worker] = number

    def _tidy(self, number: int) -> None:
        trial = self._book.trials[number]
        for digest in policies.discardable(trial.segments, trial.best):
            self._discard(digest)

    def _decide(self, number: int, result: SegmentResult) -> bool:
        """Commit a trial's final state if it has reached one, and tell whether it has."""
        others = [other for other in self._book.trials.values() if other.number != number]
        state = policies.verdict(self._book.trials[number], result, others, self._config.halving)
        if not state.final:
            return False
        reasons = {
            TrialState.COMPLETED: f"trained {result.stop} steps",
            TrialState.PRUNED: f"not in the best 1/{self._config.halving.eta} at step {result.stop}",
            TrialState.DIVERGED: result.stopping.message if result.stopping else "",
        }
        self._finish(number, state, reasons[state], event=result.stopping)
        return True

    def _lose(self, worker: str, number: int, loss: Loss) -> None:
        self._idle.append(worker)
        if policies.may_retry(loss.cause, self._book.trials[number].losses, self._config.retries):
            self._waiting.appendleft(number)
            return
        self._finish(number, TrialState.FAILED, loss.detail, traceback=loss.traceback)
        if loss.cause == "user_error":
            raise UserError(f"trial {number} failed: {loss.detail} (`gansearch show {number}` tells more)")
        if policies.hopeless([trial.state for trial in self._book.trials.values() if trial.state.final]):
            raise GansearchError(f"the last {policies.FAILURES_IN_A_ROW} trials failed, the latest of: {loss.detail}")

    def _finish(self, number: int, state: TrialState, reason: str, **more: object) -> None:
        best = self._book.trials[number].best
        decision = {"at": time.time(), "trial": number, "state": state, "reason": reason, **more}
        if best is not None:
            decision |= {"score": best.result.score, "best_index": best.index}
        self._append(DecisionRecord.model_validate(decision))

    def _suspend(self) -> None:
        """Say of every trial that is not final that it waits for the next driver."""
        reason = "the search was stopped"
        running = [n for n in self._unfinished() if self._book.trials[n].state is not TrialState.SUSPENDED]
        records = (DecisionRecord(at=time.time(), trial=n, state=TrialState.SUSPENDED, reason=reason) for n in running)
        self._append(*records)


def _committed(trial: Trial, answer: SegmentResult | Loss) -> list[Record]:
    """Return what an answer adds to the journal; a segment that is there already must be the same again."""
    attempt = len(trial.attempts) - 1
    if isinstance(answer, Loss):
        return [
            LossRecord(at=time.time(), trial=trial.number, attempt=attempt, cause=answer.cause, detail=answer.detail)
        ]
    for segment in trial.segments:
        if segment.result.stop == answer.stop:
            _same(trial, segment.result, answer)
            return []
    index = len(trial.segments)
    return [SegmentRecord(at=time.time(), trial=trial.number, attempt=attempt, index=index, result=answer)]


def _same(trial: Trial, before: SegmentResult, again: SegmentResult) -> None:
    if before.environment != again.environment:
        return
    for what in ("history", "scores", "generator"):
        committed, got = getattr(before, what), getattr(again, what)
        if committed != got:
            raise IntegrityError(
                f"trial {trial.number}, trained again from its checkpoint to step {again.stop}, "
                f"gave {what} {got}, but {committed} was committed"
            )
