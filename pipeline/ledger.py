"""The study's own record of what happened; append-only, the source of truth.

Its beginning may be compacted (pipeline.compaction), the rest is the journal (pipeline.journal). Every driver writes in
an epoch of its own, so one that was believed dead and writes on does so in an epoch that has ended: it is told, and
readers ignore it. The lease (pipeline.lease) only saves drivers from each other; nothing here relies on it.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from threading import RLock
from typing import Self

from pipeline.book import Book
from pipeline.compaction import compact, compacted, newest
from pipeline.journal import (
    END,
    Lost,
    Place,
    create_own,
    each,
    epoch_name,
    lines_of,
    open_epoch,
    places,
    read,
    record_name,
    records_of,
    with_digest,
)
from pipeline.lease import Lease, hold
from pipeline.records import Record
from pipeline.store_port import Store, is_segment
from trainers.errors import ConfigError, IntegrityError, StateConflict, Unreachable

COMPACT_AT = 256  # objects
_TRIES = 10  # a reader meets at most one compaction while its driver writes hundreds of objects
_MEND = "run the same command again to read what became of it"
_log = logging.getLogger(__name__)


class Ledger:
    """The one writer of a study; get it with `Ledger.open`."""

    def __init__(
        self, store: Store, study: str, epoch: int, replay: _Replay, compact_at: int, say: Callable[[str], None]
    ) -> None:
        self.study = study
        self.records = replay.records  # durable; grows at its end only: other threads may read it by index
        self.book = _fold(self.records)  # with what is staged
        self._store, self._epoch, self._number = store, epoch, 0
        self._staged: list[Record] = []
        self._loose, self._compact_at = replay.loose, compact_at
        self._due = max(compact_at, replay.compacted // 2)
        self._say = say
        self._held = ExitStack()
        self._lease: Lease | None = None
        self._closed = self._torn = False
        self._guard = RLock()  # an interrupt may leave it held: its own thread must still be able to close

    @classmethod
    def open(
        cls,
        store: Store,
        study: str,
        *,
        beat: float = 3.0,
        patience: float = 30.0,
        say: Callable[[str], None] = _log.info,
        compact_at: int = COMPACT_AT,
    ) -> Self:
        """Take the study over, whoever wrote it before; a study that does not exist begins empty.

        Args:
            store: where it lies.
            study: its name, of letters, digits, '.', '_' and '-'.
            beat: seconds between two signs of life that this driver gives.
            patience: seconds without one after which another host's driver counts as dead.
            say: takes a line for the user.
            compact_at: objects of the journal that are compacted, at least 1; more where as much is compacted already.

        Raises:
            ConfigError: the name is of another form.
            StateConflict: a living driver holds it.
            IntegrityError: an object is corrupt or missing; the message names it.
            Unreachable: the store cannot be read or written.
        """
        _checked_study(study)
        with ExitStack() as stack:
            lease = stack.enter_context(hold(store, study, beat=beat, patience=patience, say=say))
            read_book(store, study)  # one that cannot be read is left as it is
            epoch = open_epoch(store, study)
            ledger = cls(store, study, epoch, _replay(store, study), compact_at, say)
            ledger.check()  # so that what was read is that of earlier epochs, which have ended
            ledger._compact_if_due()
            ledger._lease, ledger._held = lease, stack.pop_all()
        return ledger

    def stage(self, *records: Record) -> None:
        """Show records in `book` at once, and keep them for the next `commit`.

        Raises:
            IntegrityError: one cannot follow from the book; none is staged.
            StateConflict: the ledger is closed.
        """
        with self._guard:
            self._stage(records)

    def commit(self) -> None:
        """Make all that is staged durable together, as one object, and then show it in `records`.

        Raises:
            StateConflict: another driver took the study over, or the ledger is closed.
            Unreachable: the store cannot be written; whether it was, the next driver reads. After any error the book is
                what `records` say, and what was staged is dropped.
        """
        with self._guard:
            self._commit()

    def append(self, *records: Record) -> None:
        """Stage and commit; raises as they do."""
        with self._guard:
            self._stage(records)
            self._commit()

    def check(self) -> None:
        """Look whether another driver has taken the study over; any thread of this one may.

        Raises:
            StateConflict: it has.
            Unreachable: the store cannot be read.
        """
        if read(self._store, epoch_name(self.study, self._epoch + 1)) is not None:
            raise StateConflict(f"another driver took study {self.study!r} over; {_MEND}")

    def close(self) -> None:
        """Let the study go; what is only staged is dropped. Closing twice does nothing."""
        with self._guard:
            self._closed = True
            self._drop()
            self._held.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # -- under the guard -----------------------------------------------------------------------------------------------

    def _stage(self, records: tuple[Record, ...]) -> None:
        self._check_usable()
        self.book.after(records)  # all or none
        self._torn = True
        for record in records:
            self.book.apply(record)
        self._staged += records
        self._torn = False

    def _commit(self) -> None:
        if not self._staged:
            if self._lease is not None and self._lease.lost:
                self.check()
            return
        self._check_usable()
        self._torn = True
        try:
            self._write(with_digest(lines_of(self._staged)))
        except Exception:
            self._drop()
            self._torn = False
            raise
        self.records.extend(self._staged)
        self._staged.clear()
        self._torn = False
        self._loose += 1
        self._compact_if_due()

    def _check_usable(self) -> None:
        """Refuse to write where a KeyboardInterrupt left book, records and journal different from one another."""
        if self._closed or self._torn:
            why = "closed" if self._closed else "broken off in the middle of a write; the same command goes on"
            raise StateConflict(f"the ledger of study {self.study!r} is {why}")

    def _write(self, data: bytes) -> None:
        place = Place(self._epoch, self._number + 1)
        if not create_own(self._store, record_name(self.study, place), data):
            self.check()
            # by a write of ours that failed half-way, or a clone of this process
            raise StateConflict(f"study {self.study!r} has a record that this driver does not know; {_MEND}")
        self.check()
        self._number += 1

    def _drop(self) -> None:
        if self._staged:
            vars(self.book).update(vars(_fold(self.records)))  # in place: others hold the book
            self._staged.clear()

    def _compact_if_due(self) -> None:
        """Compact where it is time; a failure is told and no more, since all is durable already."""
        if self._loose < self._due or not self.records:
            return
        try:
            compact(self._store, self.study, Place(self._epoch, self._number), self.records)
        except (Unreachable, IntegrityError) as error:
            self._due = self._loose + self._compact_at
            self._say(f"the journal of study {self.study!r} was not compacted, which is tried again later: {error}")
        else:
            self._loose, self._due = 0, max(self._compact_at, len(self.records) // 2)


# -- reading -----------------------------------------------------------------------------------------------------------


def read_records(store: Store, study: str) -> list[Record]:
    """Return all records of a study, in order, while a driver may be writing it.

    Raises:
        IntegrityError: an object is corrupt or missing; the message names it.
    """
    return _replay(store, _checked_study(study)).records


def read_book(store: Store, study: str) -> Book:
    """Return what a study's records add up to; raises as `read_records`."""
    return _fold(read_records(store, study))


def study_names(store: Store) -> list[str]:
    """Return the sorted names of the studies that have a record."""
    known: set[str] = set()
    for name in store.names("studies"):
        _, study, kind = f"{name}//".split("/")[:3]
        if study not in known and is_segment(study) and kind in ("journal", "compacted") and read(store, name) != END:
            known.add(study)
    return sorted(known)


@dataclass
class _Replay:
    records: list[Record] = field(default_factory=list)
    compacted: int = 0  # records
    loose: int = 0  # objects that are not compacted, ends of epochs among them


def _replay(store: Store, study: str) -> _Replay:
    for _ in range(_TRIES - 1):
        try:
            return _read(store, study)
        except Lost as error:  # what a compaction removes is read from its blob the next time
            _log.debug("reading study %s again: %s", study, error)
    return _read(store, study)


def _read(store: Store, study: str) -> _Replay:
    journal = places(store, study)
    start, last = newest(store, study), max(journal, default=0)
    found = _Replay(compacted(store, study, start) if start.epoch else [])
    found.compacted = len(found.records)
    wanted = [
        Place(epoch, number)
        for epoch in range(max(start.epoch, 1), last + 1)
        for number in range(1, max(journal.get(epoch, [0])) + 1)
        if (epoch, number) > start
    ]
    ended: set[int] = set()
    for place, data in zip(wanted, each(lambda one: read(store, record_name(study, one)), wanted), strict=True):
        if place.epoch in ended:
            continue  # written behind the end: nobody's
        records = records_of(store, record_name(study, place), data)
        found.loose += 1
        if records is None:
            ended.add(place.epoch)
        else:
            found.records += records
    for epoch in sorted(set(range(max(start.epoch, 1), last)) - ended):  # nobody wrote into a later one before its end
        missing = record_name(study, Place(epoch, max(journal.get(epoch, [0])) + 1))
        raise Lost(f"{missing} is missing from {store.uri}, though others need it")
    return found


def _fold(records: list[Record]) -> Book:
    book = Book()
    for record in records:
        book.apply(record)
    return book


def _checked_study(study: str) -> str:
    if not is_segment(study):
        raise ConfigError(f"study must be 1 to 200 letters, digits, '.', '_' and '-', but got study={study!r}")
    return study
