"""Bring MLflow, and Optuna's database, up to date beside the driver's loop, which never waits; imports neither."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from queue import Empty, SimpleQueue
from typing import NamedTuple, Protocol

from pipeline.book import Book
from pipeline.projection import Outcome, TrackerGoneError
from pipeline.records import BudgetRecord, FinishRecord, Record, RunRecord, StudyRecord, TrialRecord
from trainers.errors import IntegrityError

FIRST_WAIT = 0.5  # seconds after a first failure; doubled by each that follows
LONGEST_WAIT = 30.0
LAST_WAIT = 1.0  # while closing
TRIES = 3  # failures in a row after which `show_now` gives up


class Shown(NamedTuple):
    """What was shown: the run for the journal, where there is one, and the first blob that was not there to show."""

    run: RunRecord | None
    broken: IntegrityError | None = None


class Tracker(Protocol):
    """Where a study is shown; both methods show what the book says, and doing either again changes nothing."""

    @property
    def tracking_uri(self) -> str:
        """Where the runs are."""
        ...

    def show(self, book: Book, trial: int | None, began: float) -> Shown:
        """Make what is shown of a trial, or of the study where it is None, say what the book says.

        A blob that is missing or corrupt does not keep the rest from being shown.

        Args:
            book: all that is known.
            trial: its number.
            began: when it was asked for, in seconds since 1970.
        """
        ...

    def finish(self, book: Book, outcome: Outcome) -> IntegrityError | None:
        """End the study as finished or suspended, and trials that have no final state; show what it is known for.

        Returns:
            The first blob that was not there to show.
        """
        ...


class Projector:
    """A thread that shows each new record, and tries again for as long as the tracker fails.

    Several records of one trial that have piled up are shown at once. Run ids that the journal does not hold yet are
    put into `outbox`, for the driver to append.
    """

    def __init__(self, records: Sequence[Record], tracker: Tracker) -> None:
        """Prepare to show `records`, which the driver goes on appending to; nothing happens before `start`."""
        self.outbox: SimpleQueue[RunRecord] = SimpleQueue()
        self.failure: str | None = None  # why the last attempt failed; None when it worked
        self.integrity: IntegrityError | None = None  # the first blob that was not there to show
        self._records = records
        self._tracker = tracker
        self._book = Book()
        self._folded = 0  # records that the book has
        self._waiting: dict[int | None, int] = {}  # folded records that are not shown yet, by trial
        self._broken: dict[int | None, int] = {}  # records that cannot be shown whole, by trial
        self._began: dict[int | None, float] = {}
        self._runs: set[tuple[int | None, str, str]] = set()
        self._outcome: Outcome | None = None
        self._finished = False
        self._gone = False
        self._closing = threading.Event()
        self._wake = threading.Condition()
        self._notified = False
        self._deadline = float("inf")
        self._thread = threading.Thread(target=self._run, name="projector", daemon=True)

    @property
    def unsynced(self) -> int:
        """How many records the tracker does not show yet, or not any more."""
        if self._gone:
            return len(self._records)
        shown_in_part = sum(list(self._waiting.values())) + sum(list(self._broken.values()))
        return len(self._records) - self._folded + shown_in_part

    def drain(self) -> list[Record]:
        """Return the runs that the journal does not hold yet, each once."""
        found: list[Record] = []
        while True:
            try:
                found.append(self.outbox.get_nowait())
            except Empty:
                return found

    def show_now(self, outcome: Outcome) -> int:
        """Show everything and end the study's run, in this thread; never together with `start`.

        A tracker that fails is asked again, until it has failed several times without anything shown in between.

        Returns:
            The number of records that are not shown; at least 1 where the run could not be ended.
        """
        left = TRIES
        while True:
            before = self.unsynced
            try:
                self._catch_up()
                self._end(outcome)
            except Exception as error:
                self.failure = _reason(error)
                left = left - 1 if self.unsynced == before else TRIES - 1
                if not left:
                    return max(self.unsynced, 1)
                time.sleep(FIRST_WAIT)
            else:
                self.failure = _reason(self.integrity)
                return self.unsynced

    def start(self) -> None:
        """Begin to show what is there, and then whatever is appended."""
        self._thread.start()

    def notify(self) -> None:
        """Say that records were appended; returns at once."""
        with self._wake:
            self._notified = True
            self._wake.notify()

    def close(self, timeout: float, outcome: Outcome | None = None) -> int:
        """Show what is left, end the study's run, and stop.

        Args:
            timeout: seconds to wait for it; what is not shown by then is left to `gansearch sync`.
            outcome: how the study's run ends; None leaves it as it is.

        Returns:
            The number of records that are not shown; at least 1 where the run could not be ended.
        """
        if self._thread.ident is None:  # never started: whoever failed before start() may still close
            return self.unsynced
        self.ask_to_close(timeout, outcome)
        self._thread.join(timeout)
        undone = outcome is not None and not self._finished
        return max(self.unsynced, int(undone))

    def ask_to_close(self, timeout: float, outcome: Outcome | None) -> None:
        """Begin what `close` does, and return at once; only the first call counts."""
        with self._wake:
            if not self._closing.is_set():
                self._outcome, self._deadline = outcome, time.monotonic() + timeout
                self._closing.set()
        self.notify()

    # -- in the thread -------------------------------------------------------------------------------------------------

    def _run(self) -> None:
        wait = FIRST_WAIT
        while True:
            closing = self._closing.is_set()  # read first: what is appended before close() is shown
            try:
                self._catch_up()
                if closing and self._outcome is not None:
                    self._end(self._outcome)
                self._finished, self.failure, wait = closing, _reason(self.integrity), FIRST_WAIT
                failed = False
            except TrackerGoneError as error:
                self.failure, self._gone = str(error), True
                return
            except Exception as error:
                self.failure, failed = _reason(error), True
                if closing:
                    wait = min(wait, LAST_WAIT)
                    if time.monotonic() + wait > self._deadline:
                        return
                self._rest(wait, closing)
                wait = min(2 * wait, LONGEST_WAIT)
            if self._finished:
                return
            if not failed:
                self._rest(None, closing)

    def _rest(self, seconds: float | None, closing: bool) -> None:
        """Wait for that long, or until something new was appended; a failure is waited out unless close() comes."""
        with self._wake:
            if seconds is None:
                self._wake.wait_for(lambda: self._notified)
            else:
                self._wake.wait_for(lambda: self._closing.is_set() != closing, seconds)
            self._notified = False

    def _catch_up(self) -> None:
        self._fold()
        while self._waiting:
            # The study's run comes first: the others are its children.
            trial = None if None in self._waiting else next(iter(self._waiting))
            try:
                run, broken = self._tracker.show(self._book, trial, self._began.get(trial, 0.0))
            except Exception:
                self._waiting[trial] = self._waiting.pop(trial)  # to the end: the others get their turn
                raise
            self._keep(run)
            if broken is None:
                self._broken.pop(trial, None)
            else:  # trying again would not help: it waits for the trial's next record, or for another command
                self.integrity = self.integrity or broken
                self._broken[trial] = self._broken.get(trial, 0) + self._waiting[trial]
            del self._waiting[trial]
            self._fold()

    def _keep(self, run: RunRecord | None) -> None:
        if run is not None and (key := (run.trial, run.run_id, run.tracking_uri)) not in self._runs:
            self._runs.add(key)
            self.outbox.put(run)

    def _end(self, outcome: Outcome) -> None:
        if self._book.study is not None:
            self.integrity = self._tracker.finish(self._book, outcome) or self.integrity

    def _fold(self) -> None:
        """Take in what was appended since, so that a trial is shown as it is and not as it was."""
        while self._folded < len(self._records):
            record = self._records[self._folded]
            self._book.apply(record)
            trial = _subject(record)
            if isinstance(record, StudyRecord | TrialRecord):
                self._began[trial] = record.at
            if isinstance(record, RunRecord):
                self._runs.add((record.trial, record.run_id, record.tracking_uri))
            else:
                self._waiting[trial] = self._waiting.get(trial, 0) + 1
            self._folded += 1


def _subject(record: Record) -> int | None:
    """Return the number of the trial that a record is about, or None for the study."""
    if isinstance(record, StudyRecord | BudgetRecord | FinishRecord):
        return None
    return record.spec.number if isinstance(record, TrialRecord) else record.trial


def _reason(error: Exception | None) -> str | None:
    return None if error is None else f"{type(error).__name__}: {error}"


class Projectors:
    """A projector for each tracker: one that is down does not hold up the other. The first one's runs are journaled."""

    def __init__(self, records: Sequence[Record], trackers: Sequence[Tracker]) -> None:
        """See `Projector`; there is at least one tracker."""
        self._each = [Projector(records, tracker) for tracker in trackers]

    @property
    def unsynced(self) -> int:
        """How many records the tracker that lags most does not show yet."""
        return max(each.unsynced for each in self._each)

    @property
    def failure(self) -> str | None:
        """Why the last attempt of one failed, if it did."""
        return next((each.failure for each in self._each if each.failure), None)

    @property
    def integrity(self) -> IntegrityError | None:
        """The first blob that was not there to show."""
        return next((each.integrity for each in self._each if each.integrity), None)

    def start(self) -> None:
        """See `Projector.start`."""
        for each in self._each:
            each.start()

    def notify(self) -> None:
        """See `Projector.notify`."""
        for each in self._each:
            each.notify()

    def drain(self) -> list[Record]:
        """See `Projector.drain`."""
        return [run for each in self._each for run in each.drain()]

    def show_now(self, outcome: Outcome) -> int:
        """See `Projector.show_now`."""
        return max([each.show_now(outcome) for each in self._each])

    def close(self, timeout: float, outcome: Outcome | None = None) -> int:
        """See `Projector.close`; `timeout` is that of all together."""
        deadline = time.monotonic() + timeout
        for each in self._each:
            each.ask_to_close(timeout, outcome)
        return max([each.close(max(0.0, deadline - time.monotonic()), outcome) for each in self._each])
