"""Bring one tracker up to date beside the driver's loop, which never waits for it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from queue import Empty
from typing import NamedTuple, Protocol

from pipeline.backlog import Backlog
from pipeline.book import Book
from pipeline.projection import Outcome, TrackerGoneError
from pipeline.records import Record, RunRecord
from pipeline.safe_text import redact
from trainers.errors import IntegrityError, StateConflict

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


class _TakenOverError(Exception):
    """Another driver shows the study now."""


def nobody_else() -> None:
    """Find no other driver, where none can come."""


class Projector:
    """A thread that shows each new record, and tries again for as long as the tracker fails.

    Several records of one trial that have piled up are shown at once. Run ids that the journal does not hold yet are
    put into `outbox`, for the driver to append.
    """

    def __init__(self, records: Sequence[Record], tracker: Tracker, check: Callable[[], None] = nobody_else) -> None:
        """Prepare to show `records`, which the driver goes on appending to; nothing happens before `start`.

        Args:
            records: of the study.
            tracker: that is shown them.
            check: called before anything is shown; raises StateConflict where another driver took the study over: this
                one was frozen, or cut off, and knows less than what is shown by now.
        """
        self._backlog = Backlog(records)
        self.outbox = self._backlog.outbox
        self.failure: str | None = None  # why the last attempt failed; None when it worked
        self.integrity: IntegrityError | None = None  # the first blob that was not there to show
        self.conflict: StateConflict | None = None  # what `check` raised: nothing is shown any more
        self._records = records
        self._tracker = tracker
        self._check = check
        self._outcome: Outcome | None = None
        self._finished = self._gone = self._left = False
        self._closing = threading.Event()
        self._wake = threading.Condition()
        self._notified = False
        self._deadline = float("inf")
        self._thread = threading.Thread(target=self._run, name="projector", daemon=True)

    @property
    def unsynced(self) -> int:
        """How many records the tracker does not show yet, or not any more."""
        return len(self._records) if self._gone else self._backlog.unsynced

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
                if not left or self.conflict is not None:
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
        self.ask_to_close(timeout, outcome)
        self.join(timeout)
        return self.lag

    def ask_to_close(self, timeout: float, outcome: Outcome | None) -> None:
        """Begin what `close` does, and return at once; only the first call counts."""
        with self._wake:
            if not self._closing.is_set():
                self._outcome, self._deadline = outcome, time.monotonic() + timeout
                self._closing.set()
        self.notify()

    def leave(self) -> None:
        """Show nothing more, and end nothing; returns at once, though what is being shown just now may go on."""
        self._left = True
        self.ask_to_close(0.0, None)

    def join(self, timeout: float) -> bool:
        """Wait for the end of what `ask_to_close` began, and tell whether it was seen."""
        if self._thread.ident is not None:  # whoever failed before start() may still close
            self._thread.join(timeout)
        return not self._thread.is_alive()

    @property
    def lag(self) -> int:
        """How many records are not shown, once closed; at least 1 where the study's run could not be ended."""
        undone = self._thread.ident is not None and self._outcome is not None and not self._finished
        return max(self.unsynced, int(undone))

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
            except _TakenOverError:
                return
            except TrackerGoneError as error:
                self.failure, self._gone = redact(str(error)), True
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
        backlog = self._backlog
        backlog.fold()
        while (due := backlog.next()) is not None:
            subject, began = due
            self._stop_where_taken_over()
            try:
                run, broken = self._tracker.show(backlog.book, subject, began)
            except Exception:
                backlog.put_off(subject)
                raise
            self.integrity = self.integrity or broken
            backlog.shown(subject, run, whole=broken is None)
            backlog.fold()

    def _end(self, outcome: Outcome) -> None:
        if self._backlog.book.study is not None:
            self._stop_where_taken_over()
            self.integrity = self._tracker.finish(self._backlog.book, outcome) or self.integrity

    def _stop_where_taken_over(self) -> None:
        """Find out before each thing that is shown: a thread that thaws may be faster than the driver's next commit."""
        if self._left:
            raise _TakenOverError
        try:
            self._check()
        except StateConflict as error:  # a tracker's own is a failure like others, and tried again
            self.conflict = error
            raise _TakenOverError(str(error)) from error


def _reason(error: Exception | None) -> str | None:
    return None if error is None else redact(f"{type(error).__name__}: {error}")
