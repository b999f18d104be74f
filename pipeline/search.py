"""The loop: ask, start, next, commit, decide, tell. Names no library, fits one screen."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable
from contextlib import suppress
from functools import partial
from typing import Protocol

from pipeline import order, policies
from pipeline.book import Book, Trial
from pipeline.config import SearchConfig, train_config, trial_seed
from pipeline.janitor import Blobs, Janitor
from pipeline.ledger import Ledger
from pipeline.ports import Answer, Executor, Job, Loss
from pipeline.records import (
    AttemptRecord,
    DecisionRecord,
    FinishRecord,
    LateRecord,
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
from trainers.errors import GansearchError, UserError

TICK = 0.5  # seconds between two looks at whether to stop


class Asker(Protocol):
    """Whatever suggests parameters."""

    def ask(self, number: int, trials: list[Trial]) -> dict[str, Scalar]:
        """Return the parameters of trial `number`, given all earlier ones."""

    def origin(self, number: int) -> Origin:
        """Return where the parameters of trial `number` come from."""


class Search:
    """One driver's work on a study, from where the ledger stands to the budget.

    In each turn all that arrived, and all that follows from it, becomes durable in one write; only then are workers
    told to go on and blobs removed. A driver that dies in between has promised nothing to anyone.

    Args:
        config: of the search.
        ledger: the study's, open for writing, its study record committed.
        executor: with warm workers.
        asker: suggests parameters.
        blobs: of the study's store.
        should_stop: asked often; True suspends the search, once the segments that are under way are committed.
        abandon: asked often while it stops; True leaves what is under way.
        tick: called often, with the state of the study; brings records of others, such as run ids.
    """

    def __init__(
        self,
        *,
        config: SearchConfig,
        ledger: Ledger,
        executor: Executor,
        asker: Asker,
        blobs: Blobs,
        should_stop: Callable[[], bool],
        abandon: Callable[[], bool] = lambda: False,
        tick: Callable[[Book], list[Record]],
    ) -> None:
        self._config = config
        self._ledger = ledger
        self._executor = executor
        self._asker = asker
        self._janitor = Janitor(blobs)
        self._should_stop = should_stop
        self._abandon = abandon
        self._tick = tick
        self._in_virtual_time = config.schedule == "reproducible"
        self._stopping = False
        self._idle = list(executor.workers)
        self._busy: dict[str, tuple[int, int]] = {}  # the trial and attempt that each worker is training
        self._resting: dict[int, str] = {}  # trials whose last segment is there, and who holds them
        self._arrived: dict[int, deque[SegmentResult]] = {}  # segments by trial that are not committed yet
        self._waiting: deque[int] = deque()  # trials to go on with
        self._orders: list[Callable[[], None]] = []  # to workers, given once what is staged is durable
        self._failure: GansearchError | None = None  # ends the search, once what came with it is committed

    def run(self) -> bool:
        """Run until the budget is used up, or until asked to stop; return whether the budget is used up."""
        try:
            self._pick_up()
            while self._turn():
                pass
        except BaseException:
            with suppress(GansearchError):  # the first error is the one to tell
                self._suspend()
                self._ledger.commit()
            raise
        return self._book.finished >= self._config.trials

    @property
    def _book(self) -> Book:
        return self._ledger.book

    def _turn(self) -> bool:
        """Give out work, wait for answers, and act on them; return whether there is more to do."""
        if self._look():
            self._suspend()
        else:
            self._fill()
        self._janitor.collect(self._book)
        if not self._busy and (best := policies.to_name(self._book, self._config.trials)) is not None:
            self._ledger.stage(FinishRecord(at=time.time(), best=best))
        self._commit()
        more = self._waiting or self._wants_more()  # perhaps for a worker that waits for its place
        if (not self._busy and (self._stopping or not more)) or (self._stopping and self._abandon()):
            return False
        self._receive(self._executor.next(TICK))
        self._ledger.stage(*self._tick(self._book))
        if self._failure is not None:
            raise self._failure
        return True

    def _look(self) -> bool:
        self._stopping = self._stopping or self._should_stop()
        return self._stopping

    def _commit(self) -> None:
        """Make what is staged durable, and only then act on it."""
        self._ledger.commit()
        orders, self._orders = self._orders, []
        for give in orders:
            give()
        self._janitor.work()

    # -- giving out work -----------------------------------------------------------------------------------------------

    def _pick_up(self) -> None:
        """Take over the trials that an earlier driver left, perhaps between what decides a trial and its decision."""
        for number in self._unfinished():
            self._janitor.tidy(self._book.trials[number])
            segments = self._book.trials[number].segments
            decided = self._decide(number, segments[-1].result) if segments else self._refuse(number)
            if not decided:
                self._waiting.append(number)
        self._take_places()

    def _unfinished(self) -> list[int]:
        return [trial.number for trial in self._book.trials.values() if not trial.state.final]

    def _fill(self) -> None:
        """Give every idle worker that has its place a trial, while there are any to train."""
        ready = list(filter(self._executor.ready, self._idle))
        while ready and (number := self._next_trial()) is not None:
            worker, trial = ready.pop(0), self._book.trials[number]
            self._idle.remove(worker)
            checkpoint, step = trial.checkpoint or (None, 0)
            attempt = len(trial.attempts)
            self._ledger.stage(AttemptRecord(at=time.time(), trial=number, attempt=attempt, worker=worker, step=step))
            extractor = self._book.study.extractor if self._book.study else None
            job = Job(spec=trial.spec, attempt=attempt, checkpoint=checkpoint, extractor=extractor)
            self._orders.append(partial(self._executor.start, worker, job))
            self._busy[worker] = (number, attempt)

    def _next_trial(self) -> int | None:
        if self._waiting:
            return self._waiting.popleft()
        while not self._in_virtual_time and self._wants_more():
            number = self._ask()
            if not self._refuse(number):
                return number
        return None

    def _take_places(self) -> None:
        """In virtual time, ask for a trial for every free place at once: nothing may come in between."""
        while self._in_virtual_time and len(self._unfinished()) < self._config.workers and self._wants_more():
            number = self._ask()
            if not self._refuse(number):
                self._waiting.append(number)

    def _wants_more(self) -> bool:
        return self._book.finished + len(self._unfinished()) < self._config.trials

    def _ask(self) -> int:
        number, trials = len(self._book.trials), list(self._book.trials.values())
        params = self._asker.ask(number, trials)
        config = train_config(self._config, params, trial_seed(self._config.seed, number))
        uid = self._book.study.uid if self._book.study else ""
        origin = self._asker.origin(number)
        spec = TrialSpec(number=number, key=f"{uid}/{number}", params=params, config=config, origin=origin)
        begins = order.place(self._book, self._config.workers) if self._in_virtual_time else 0
        self._ledger.stage(TrialRecord(at=time.time(), spec=spec, begins=begins))
        return number

    def _refuse(self, number: int) -> bool:
        """Decide a trial that a static check refuses, without training a step; the search goes on."""
        stops = [event for event in refusals(self._book.trials[number].spec.config) if event.action == "stop"]
        for event in stops[:1]:
            self._finish(number, TrialState.DIVERGED, event.message, event=event)
        return bool(stops)

    # -- what arrives --------------------------------------------------------------------------------------------------

    def _receive(self, answers: Iterable[Answer]) -> None:
        arrived: list[int] = []
        for worker, number, attempt, result in answers:
            if self._busy.get(worker) != (number, attempt):  # superseded: whoever took its place answers for the trial
                self._ledger.stage(LateRecord(at=time.time(), trial=number, attempt=attempt, worker=worker))
                continue
            del self._busy[worker]
            if isinstance(result, Loss):
                self._lose(worker, number, attempt, result)
                continue
            self._resting[number] = worker
            if not policies.committed_before(self._book.trials[number], result):
                self._arrived.setdefault(number, deque()).append(result)
                arrived.append(number)
        while (due := self._due(arrived)) is not None:
            self._apply(due, self._arrived[due].popleft())
        self._look()
        for number in list(self._resting):
            self._go_on(number)

    def _due(self, arrived: list[int]) -> int | None:
        """Return the trial whose oldest segment counts next: as they came, or as it is due in virtual time."""
        if not self._in_virtual_time:
            return arrived.pop(0) if arrived else None
        number = order.due(self._book)
        return number if number is not None and self._arrived.get(number) else None

    def _apply(self, number: int, result: SegmentResult) -> None:
        """Commit a segment and what follows from it."""
        trial = self._book.trials[number]
        attempt, index = len(trial.attempts) - 1, len(trial.segments)
        self._ledger.stage(SegmentRecord(at=time.time(), trial=number, attempt=attempt, index=index, result=result))
        self._janitor.tidy(self._book.trials[number])
        if self._decide(number, result):
            self._take_places()

    def _go_on(self, number: int) -> None:
        """Let the worker that holds a trial train on, unless the trial has ended or must wait for its turn."""
        trial, held = self._book.trials[number], self._arrived.get(number)
        if trial.state.final or self._stopping:
            self._idle.append(self._resting.pop(number))
        elif not held or not policies.may_decide(trial, held[-1], self._config.halving):
            worker = self._resting.pop(number)
            self._orders.append(partial(self._executor.advance, worker))
            self._busy[worker] = (number, len(trial.attempts) - 1)

    def _decide(self, number: int, result: SegmentResult) -> bool:
        """Commit a trial's final state if it has reached one, and tell whether it has."""
        others = [other for other in self._book.trials.values() if other.number != number]
        state = policies.verdict(self._book.trials[number], result, others, self._config.halving)
        if not state.final:
            return False
        reason = policies.reason(state, result, self._config.halving)
        self._finish(number, state, reason, event=result.stopping)
        return True

    def _lose(self, worker: str, number: int, attempt: int, loss: Loss) -> None:
        self._idle.append(worker)
        self._arrived.pop(number, None)  # trained again, from the newest committed checkpoint
        told = {"cause": loss.cause, "detail": loss.detail, "blob": loss.blob}
        self._ledger.stage(LossRecord.model_validate({"at": time.time(), "trial": number, "attempt": attempt, **told}))
        if loss.blob is not None:
            self._janitor.set_aside(loss.blob)
        if policies.may_retry(loss.cause, self._book.trials[number].losses, self._config.retries):
            self._waiting.appendleft(number)
            return
        self._finish(number, TrialState.FAILED, loss.detail, traceback=loss.traceback)
        if loss.cause == "user_error":
            self._failure = UserError(f"trial {number} failed: {loss.detail} (`gansearch show {number}` tells more)")
        elif policies.hopeless([trial.state for trial in self._book.trials.values() if trial.state.final]):
            latest = f"the last {policies.FAILURES_IN_A_ROW} trials failed, the latest of: {loss.detail}"
            self._failure = GansearchError(latest)
        else:
            self._take_places()

    # -- what ends -----------------------------------------------------------------------------------------------------

    def _finish(self, number: int, state: TrialState, reason: str, **more: object) -> None:
        best = self._book.trials[number].best
        decision = {"at": time.time(), "trial": number, "state": state, "reason": reason, **more}
        if best is not None:
            decision |= {"score": best.result.score, "best_index": best.index}
        self._ledger.stage(DecisionRecord.model_validate(decision))

    def _suspend(self) -> None:
        """Say of every trial that is not final that it waits for the next driver."""
        running = [n for n in self._unfinished() if self._book.trials[n].state is not TrialState.SUSPENDED]
        suspended = {"at": time.time(), "state": TrialState.SUSPENDED, "reason": "the search was stopped"}
        self._ledger.stage(*(DecisionRecord.model_validate({"trial": n, **suspended}) for n in running))
