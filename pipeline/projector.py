"""Bring MLflow up to date beside the driver's loop, which never waits for it; imports no MLflow."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from queue import SimpleQueue
from typing import Protocol

from pipeline.book import Book
from pipeline.projection import Outcome
from pipeline.records import BudgetRecord, Record, RunRecord, StudyRecord, TrialRecord

FIRST_WAIT = 0.5  # seconds after a first failure; doubled by each that follows
LONGEST_WAIT = 30.0
LAST_WAIT = 1.0  # while closing


class Tracker(Protocol):
    """Where a study is shown; both methods show what the book says, and doing either again changes nothing."""

    @property
    def tracking_uri(self) -> str:
        """Where the runs are."""
        ...

    def show(self, book: Book, trial: int | None, began: float) -> RunRecord:
        """Make the run of a trial, or of the study where it is None, say what the book says.

        Args:
            book: all that is known.
            trial: its number.
            began: when it was asked for, in seconds since 1970.

        Returns:
            The run, for the journal.
        """
        ...

    def finish(self, book: Book, outcome: Outcome, at: float) -> None:
        """End the study's run as finished or suspended, and the runs of trials that have no final state."""
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
        self._records = records
        self._tracker = tracker
        self._book = Book()
        self._folded = 0  # records that the book has
        self._waiting: dict[int | None, int] = {}  # folded records that are not shown yet, by trial
        self._began: dict[int | None, float] = {}
        self._runs: set[tuple[int | None, str, str]] = set()
        self._outcome: Outcome | None = None
        self._finished = False
        self._closing = threading.Event()
        self._wake = threading.Condition()
        self._notified = False
        self._deadline = float("inf")
        self._thread = threading.Thread(target=self._run, name="projector", daemon=True)

    @property
    def unsynced(self) -> int:
        """How many records the tracker does not show yet."""
        return len(self._records) - self._folded + sum(list(self._waiting.values()))

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
        self._outcome = outcome
        self._deadline = time.monotonic() + timeout
        self._closing.set()
        self.notify()
        self._thread.join(timeout)
        undone = outcome is not None and not self._finished
        return max(self.unsynced, int(undone))

    # -- in the thread -------------------------------------------------------------------------------------------------

    def _run(self) -> None:
        wait = FIRST_WAIT
        while True:
            closing = self._closing.is_set()  # read first: what is appended before close() is shown
            try:
                self._catch_up()
                if closing and self._outcome is not None:
                    self._tracker.finish(self._book, self._outcome, self._records[-1].at if self._records else 0.0)
                self._finished, self.failure, wait = closing, None, FIRST_WAIT
            except Exception as error:
                self.failure = f"{type(error).__name__}: {error}"
                if closing:
                    wait = min(wait, LAST_WAIT)
                    if time.monotonic() + wait > self._deadline:
                        return
                self._rest(wait, closing)
                wait = min(2 * wait, LONGEST_WAIT)
            if self._finished:
                return
            if self.failure is None:
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
                run = self._tracker.show(self._book, trial, self._began.get(trial, 0.0))
            except Exception:
                self._waiting[trial] = self._waiting.pop(trial)  # to the end: the others get their turn
                raise
            if (key := (run.trial, run.run_id, run.tracking_uri)) not in self._runs:
                self._runs.add(key)
                self.outbox.put(run)
            del self._waiting[trial]
            self._fold()

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
    if isinstance(record, StudyRecord | BudgetRecord):
        return None
    return record.spec.number if isinstance(record, TrialRecord) else record.trial
