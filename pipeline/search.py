"""The loop: ask, start, next, commit, decide, tell. Names no library, fits one screen."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable
from contextlib import suppress
from functools import partial

from pipeline import order, policies
from pipeline.asking import Asker, Trials
from pipeline.book import Book
from pipeline.config import SearchConfig
from pipeline.janitor import Blobs, Janitor
from pipeline.ledger import Ledger
from pipeline.ports import Answer, Executor, Job, Loss, WorkersGoneError
from pipeline.records import (
    AttemptRecord,
    FinishRecord,
    LateRecord,
    Record,
    SegmentRecord,
    SegmentResult,
    TrialState,
)
from trainers.errors import GansearchError
from trainers.stability.events import Event

TICK = 0.5  # seconds between two looks at whether to stop


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
        self._trials = Trials(config, ledger, asker)
        self._janitor = Janitor(blobs)
        self._should_stop = should_stop
        self._abandon = abandon
        self._tick = tick
        self._in_virtual_time = config.schedule == "reproducible"
        self._same_code = ledger.book.num_records if ledger.book.allowed else 0  # from this place in the journal on
        self._stopping = False
        self._idle = list(executor.workers)
        self._busy: dict[str, tuple[int, int]] = {}  # the trial and attempt that each worker is training
        self._resting: dict[int, str] = {}  # trials whose last segment is there, and who holds them
        self._arrived: dict[int, deque[SegmentResult | Loss]] = {}  # by trial, what is not committed yet
        self._waiting: list[int] = []  # trials to go on with
        self._orders: list[Callable[[], None]] = []  # to workers, given once what is staged is durable
        self._failure: GansearchError | None = None  # ends the search, once what came with it is committed

    def run(self) -> bool:
        """Run until the budget is used up, or until asked to stop; return whether the budget is used up."""
        try:
            self._pick_up()
            while self._turn():
                pass
            while not self._look() and self._janitor.work():
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
        more = self._waiting or self._trials.wanted  # perhaps for a worker that waits for its place
        if (not self._busy and (self._stopping or not more)) or (self._stopping and self._abandon()):
            return False
        self._receive(self._answers())
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
        for trial in self._book.unfinished:
            self._janitor.tidy(trial)
            for loss in trial.losses[-1:]:
                if loss.blob is not None and loss.attempt == len(trial.attempts) - 1:  # nobody went on since
                    self._janitor.set_aside(loss.blob)
            decided = self._decide(trial.number, trial.segments[-1].result) if trial.segments else False
            if not (decided or (not trial.segments and self._trials.refuse(trial.number))):
                self._waiting.append(trial.number)
        self._take_places()

    def _take_places(self) -> None:
        """In virtual time, ask for a trial for every free place at once: nothing may come in between."""
        while self._in_virtual_time and len(self._book.unfinished) < self._config.workers:
            if (number := self._trials.ask()) is None:
                return
            self._waiting.append(number)

    def _fill(self) -> None:
        """Give every idle worker that has its place a trial, while there are any to train."""
        ready = list(filter(self._executor.ready, self._idle))
        while self._waiting and self._resting and not (ready or self._busy):
            ready += filter(self._executor.ready, [self._take_worker()])  # its node may be dead, or doubted
        while ready and (number := self._next_trial()) is not None:
            worker, trial = ready.pop(0), self._book.trials[number]
            self._idle.remove(worker)
            self._arrived.pop(number, None)  # of a worker that was taken away: trained again
            checkpoint, step = trial.checkpoint or (None, 0)
            attempt = len(trial.attempts)
            self._ledger.stage(AttemptRecord(at=time.time(), trial=number, attempt=attempt, worker=worker, step=step))
            job = Job(spec=trial.spec, attempt=attempt, checkpoint=checkpoint, extractor=self._book.begun.extractor)
            self._orders.append(partial(self._executor.start, worker, job))
            self._busy[worker] = (number, attempt)

    def _take_worker(self) -> str:
        """Free the worker of the trial whose turn comes last, where all rest and wait for one that has no worker."""
        last = max(self._resting, key=lambda number: (order.next_end(self._book.trials[number]), number))
        self._waiting.append(last)
        self._idle.append(worker := self._resting.pop(last))
        return worker

    def _next_trial(self) -> int | None:
        if not self._waiting:
            return None if self._in_virtual_time else self._trials.ask()
        first = self._waiting[0]
        if self._in_virtual_time:
            first = min(self._waiting, key=lambda number: (order.next_end(self._book.trials[number]), number))
        self._waiting.remove(first)
        return first

    # -- what arrives --------------------------------------------------------------------------------------------------

    def _answers(self) -> list[Answer]:
        try:
            return self._executor.next(TICK)
        except WorkersGoneError:
            if not self._look():
                raise
            self._busy.clear()  # whoever stops us has ended them, too
            return []

    def _receive(self, answers: Iterable[Answer]) -> None:
        self._look()
        arrived: list[int] = []
        for worker, number, attempt, result in answers:
            if self._busy.get(worker) != (number, attempt):  # superseded: whoever took its place answers for the trial
                self._ledger.stage(LateRecord(at=time.time(), trial=number, attempt=attempt, worker=worker))
                continue
            del self._busy[worker]
            trial = self._book.trials[number]
            if isinstance(result, Loss):
                self._idle.append(worker)
                if self._stopping and result.cause != "user_error":
                    continue  # perhaps of what stops us: a SIGTERM for all, a machine that is taken away
                if not self._retry(number, attempt, result):
                    self._arrived.setdefault(number, deque()).append(result)
                    arrived.append(number)
                continue
            self._resting[number] = worker
            if not policies.committed_before(trial, result, self._same_code):
                self._arrived.setdefault(number, deque()).append(result)
                arrived.append(number)
            elif result.stopping is not None:  # elsewhere it went on; here it cannot
                self._finish(number, TrialState.DIVERGED, result.stopping.message, event=result.stopping)
                self._take_places()
            else:
                self._janitor.tidy(trial, result)
        while (due := self._due(arrived)) is not None:
            self._apply(due, self._arrived[due].popleft())
        for number in list(self._resting):
            self._go_on(number)

    def _due(self, arrived: list[int]) -> int | None:
        """Return the trial whose oldest answer counts next: as they came, or as it is due in virtual time."""
        if not self._in_virtual_time:
            return arrived.pop(0) if arrived else None
        number = order.due(self._book) if self._failure is None else None  # the next driver fills the free place
        return number if number is not None and self._arrived.get(number) else None

    def _apply(self, number: int, result: SegmentResult | Loss) -> None:
        """Commit a segment, or the loss that ends a trial, and what follows from it."""
        trial = self._book.trials[number]
        attempt, index = len(trial.attempts) - 1, len(trial.segments)
        if isinstance(result, Loss):
            self._fail(number, attempt, result)
            return
        self._ledger.stage(SegmentRecord(at=time.time(), trial=number, attempt=attempt, index=index, result=result))
        self._janitor.tidy(trial, result)
        if self._decide(number, result):
            if number in self._waiting:
                self._waiting.remove(number)
            self._take_places()

    def _go_on(self, number: int) -> None:
        """Let the worker that holds a trial train on, unless the trial has ended or must wait for its turn."""
        trial, held = self._book.trials[number], self._arrived.get(number)
        if trial.state.final or self._stopping:
            self._idle.append(self._resting.pop(number))
            return
        last = held[-1] if held else None
        if isinstance(last, SegmentResult) and policies.may_decide(trial, last, self._config.halving):
            return
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

    def _retry(self, number: int, attempt: int, loss: Loss) -> bool:
        """Let a trial wait for another attempt, from its newest committed checkpoint, if its cause has any left."""
        lost, trial = loss.record(number, attempt, time.time()), self._book.trials[number]
        if not policies.may_retry(loss.cause, [*trial.losses, lost], self._config.retries):
            return False
        self._ledger.stage(lost)
        self._arrived.pop(number, None)
        if loss.blob is not None:
            self._janitor.set_aside(loss.blob)
        self._waiting.insert(0, number)
        return True

    def _fail(self, number: int, attempt: int, loss: Loss) -> None:
        self._ledger.stage(loss.record(number, attempt, time.time()))
        if loss.blob is not None:
            self._janitor.set_aside(loss.blob)
        self._finish(number, TrialState.FAILED, loss.detail, why=loss.traceback)
        failure = policies.ends_search(number, loss.cause, loss.detail, self._book.ended)
        self._failure = self._failure or failure
        if failure is None:
            self._take_places()

    # -- what ends -----------------------------------------------------------------------------------------------------

    def _finish(self, number: int, state: TrialState, reason: str, event: Event | None = None, why: str = "") -> None:
        trial = self._book.trials[number]
        self._ledger.stage(policies.final(trial, state, reason, at=time.time(), event=event, traceback=why))

    def _suspend(self) -> None:
        """Say of every trial that is not final that it waits for the next driver."""
        self._ledger.stage(*policies.suspensions(self._book.unfinished, at=time.time()))
