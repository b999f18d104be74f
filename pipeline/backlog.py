"""What of a study's records a tracker does not show yet: a number a trial, however many records wait."""

from __future__ import annotations

from collections.abc import Sequence
from queue import SimpleQueue

from pipeline.book import Book
from pipeline.records import BudgetRecord, FinishRecord, Record, RunRecord, StudyRecord, TrialRecord

Subject = int | None  # a trial's number; None is the study


class Backlog:
    """Folds records into a book, and counts by trial what is not shown; used by one thread, but for `unsynced`.

    Attributes:
        book: what the records say that were taken in.
        outbox: runs that the journal does not hold yet.
    """

    def __init__(self, records: Sequence[Record]) -> None:
        """Prepare to take in `records`, which grow at their end; `fold` does it."""
        self.book = Book()
        self.outbox: SimpleQueue[RunRecord] = SimpleQueue()
        self._records = records
        self._folded = 0
        self._waiting: dict[Subject, int] = {}  # folded records that are not shown yet
        self._broken: dict[Subject, int] = {}  # records that cannot be shown whole
        self._began: dict[Subject, float] = {}
        self._runs: dict[Subject, tuple[str, str]] = {}  # the newest: its id, and where it is

    @property
    def unsynced(self) -> int:
        """How many records are not shown, or not whole."""
        shown_in_part = sum(list(self._waiting.values())) + sum(list(self._broken.values()))
        return len(self._records) - self._folded + shown_in_part

    def fold(self) -> None:
        """Take in what was appended since, so that a trial is shown as it is and not as it was."""
        while self._folded < len(self._records):
            record = self._records[self._folded]
            self.book.apply(record)
            subject = _subject(record)
            if isinstance(record, StudyRecord | TrialRecord):
                self._began[subject] = record.at
            if isinstance(record, RunRecord):
                self._runs[subject] = (record.run_id, record.tracking_uri)
            else:
                self._waiting[subject] = self._waiting.get(subject, 0) + 1
            self._folded += 1

    def next(self) -> tuple[Subject, float] | None:
        """Return what is to be shown next and when it was asked for; None where nothing waits."""
        if not self._waiting:
            return None
        # The study's run comes first: the others are its children.
        subject = None if None in self._waiting else next(iter(self._waiting))
        return subject, self._began.get(subject, 0.0)

    def put_off(self, subject: Subject) -> None:
        """Let the others have their turn first."""
        self._waiting[subject] = self._waiting.pop(subject)

    def shown(self, subject: Subject, run: RunRecord | None, *, whole: bool) -> None:
        """Note that something was shown; what was not shown whole waits for its next record, or for another command.

        A run that the journal knows from before another one is noted again: its newest record says which one counts.
        """
        if run is not None and self._runs.get(run.trial) != (key := (run.run_id, run.tracking_uri)):
            self._runs[run.trial] = key
            self.outbox.put(run)
        count = self._waiting.pop(subject)
        if whole:
            self._broken.pop(subject, None)
        else:
            self._broken[subject] = self._broken.get(subject, 0) + count


def _subject(record: Record) -> Subject:
    """Return the number of the trial that a record is about, or None for the study."""
    if isinstance(record, StudyRecord | BudgetRecord | FinishRecord):
        return None
    return record.spec.number if isinstance(record, TrialRecord) else record.trial
