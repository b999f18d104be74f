"""The study's own record of what happened; append-only, the source of truth.

studies/<study>/epochs/<epoch>.jsonl            who opened the epoch, and the last number it accepts from the one before
studies/<study>/journal/<epoch>/<number>.jsonl  records that became durable together, a line each

The last line of an object is the digest of the lines before it. Every driver opens an epoch of its own, so a driver
that was believed dead and writes on does so in an epoch that is closed: readers ignore what was not accepted.
"""

from __future__ import annotations

import hashlib
import os
import socket
import time
from collections.abc import Iterable
from contextlib import ExitStack
from pathlib import PurePosixPath
from threading import Lock
from typing import Self

from pydantic import Field, ValidationError

from pipeline.book import Book
from pipeline.records import RECORD, Record
from pipeline.store import MissingObject, NameTaken, Store, is_segment
from trainers.errors import ConfigError, IntegrityError, StateConflict, nearest
from trainers.registry import Part


class _Epoch(Part):
    accepts: int = Field(ge=0)  # the last number that counts in the epoch before
    host: str
    pid: int
    at: float


class Ledger:
    """The one writer of a study; get it with `Ledger.open`."""

    def __init__(self, store: Store, study: str, epoch: int, records: list[Record], book: Book) -> None:
        self.study = study
        self.records = records  # grows at its end only: other threads may read it by index
        self.book = book
        self._store, self._epoch, self._number = store, epoch, 0
        self._held = ExitStack()
        self._closed = False
        self._guard = Lock()

    @classmethod
    def open(cls, store: Store, study: str) -> Self:
        """Take the study over, whoever wrote it before; a study that does not exist begins empty.

        Args:
            store: where it lies.
            study: its name, of letters, digits, '.', '_' and '-'.

        Raises:
            ConfigError: the name is of another form.
            StateConflict: a living driver holds it.
            IntegrityError: an object is corrupt or missing; the message names it.
        """
        _checked_study(study)
        with ExitStack() as stack:
            stack.enter_context(store.lock(study))
            while True:
                records, last, accepts = _replay(store, study)
                book = _fold(records)
                if _open_epoch(store, study, last + 1, accepts):
                    break  # else another host's driver came between: read again
            ledger = cls(store, study, last + 1, records, book)
            ledger._held = stack.pop_all()
        return ledger

    def append(self, *records: Record) -> None:
        """Make records durable together, then show them in `records` and `book`.

        Raises:
            IntegrityError: one cannot follow from the book; nothing is written.
            StateConflict: another driver took the study over, or the ledger is closed; book and records stay.
            Unreachable: the store cannot be written; book and records stay.
        """
        with self._guard:
            if self._closed:
                raise StateConflict(f"the ledger of study {self.study!r} is closed")
            if not records:
                return
            self.book.after(records)
            self._write(b"".join(RECORD.dump_json(record) + b"\n" for record in records))
            for record in records:
                self.book.apply(record)
            self.records.extend(records)

    def _write(self, body: bytes) -> None:
        mend = "run the same command again to read what became of it"
        try:
            self._store.create(_object(self.study, self._epoch, self._number + 1), _seal(body))
        except NameTaken as error:  # by a write of ours that failed half-way, or a clone of this process
            raise StateConflict(f"study {self.study!r} has a record that this driver does not know; {mend}") from error
        if _exists(self._store, _epoch(self.study, self._epoch + 1)):
            raise StateConflict(f"another driver took study {self.study!r} over; {mend}")
        self._number += 1

    def close(self) -> None:
        """Let the study go; closing twice does nothing."""
        with self._guard:
            self._closed = True
            self._held.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def read_records(store: Store, study: str) -> list[Record]:
    """Return all records of a study, in order, while a driver may be writing it.

    Raises:
        IntegrityError: an object is corrupt or missing; the message names it.
    """
    return _replay(store, _checked_study(study))[0]


def read_book(store: Store, study: str) -> Book:
    """Return what a study's records add up to; raises as `read_records`."""
    return _fold(read_records(store, study))


def study_names(store: Store) -> list[str]:
    """Return the sorted names of the studies that have a record."""
    return sorted({name.split("/")[1] for name in store.names("studies") if "/journal/" in name})


def resolve_study(store: Store, name: str | None) -> str:
    """Return the study that is meant: the named one, or the only one.

    Raises:
        ConfigError: there is none of that name, or none, or several to choose from.
    """
    known = study_names(store)
    listed = ", ".join(known)
    if not known:
        raise ConfigError(
            f"there is no study in {store.uri}; begin one with `gansearch search`, or name another --store"
        )
    if name is None and len(known) > 1:
        raise ConfigError(f"--study must say which study of {store.uri} is meant: {listed}")
    if name is not None and name not in known:
        raise ConfigError(f"there is no study {name!r} in {store.uri}{nearest(name, known)} (known: {listed})")
    return known[0] if name is None else name


def _checked_study(study: str) -> str:
    if not is_segment(study):
        raise ConfigError(f"study must be 1 to 200 letters, digits, '.', '_' and '-', but got study={study!r}")
    return study


def _fold(records: list[Record]) -> Book:
    book = Book()
    for record in records:
        book.apply(record)
    return book


# -- names and objects -------------------------------------------------------------------------------------------------


def _epoch(study: str, epoch: int) -> str:
    return f"studies/{study}/epochs/{epoch:06d}.jsonl"


def _object(study: str, epoch: int, number: int) -> str:
    return f"studies/{study}/journal/{epoch:06d}/{number:08d}.jsonl"


def _highest(texts: Iterable[str]) -> int:
    """The highest of the numbers among texts, which begin at 1; other files are nobody's."""
    return max((int(text) for text in texts if text.isdecimal()), default=0)


def _exists(store: Store, name: str) -> bool:
    try:
        store.read(name)
    except MissingObject:
        return False
    return True


def _seal(body: bytes) -> bytes:
    return body + b'{"sha256":"%s"}\n' % hashlib.sha256(body).hexdigest().encode()


def _unsealed(store: Store, name: str) -> bytes:
    try:
        data = store.read(name)
    except MissingObject as error:
        raise IntegrityError(f"{name} is missing from {store.uri}, though others need it") from error
    end = data.rfind(b"\n", 0, -1) + 1
    if data != _seal(data[:end]):
        raise IntegrityError(f"{name} in {store.uri} is corrupt: its content does not have its digest")
    return data[:end]


# -- reading -----------------------------------------------------------------------------------------------------------


def _replay(store: Store, study: str) -> tuple[list[Record], int, int]:
    """Return the accepted records, the newest epoch, and the last number in it."""
    journal = [PurePosixPath(name) for name in store.names(f"studies/{study}/journal")]
    epochs = [PurePosixPath(name) for name in store.names(f"studies/{study}/epochs")]  # after the journal, never before
    last = max(_highest(path.stem for path in epochs), _highest(path.parent.name for path in journal))
    accepted = [_read_epoch(store, study, epoch).accepts for epoch in range(1, last + 1)][1:]
    newest = _highest(path.stem for path in journal if path.parent.name == f"{last:06d}")
    records: list[Record] = []
    for epoch, accepts in enumerate([*accepted, newest], start=1):
        for number in range(1, accepts + 1):
            records += _read_object(store, _object(study, epoch, number))
    return records, last, newest


def _read_epoch(store: Store, study: str, epoch: int) -> _Epoch:
    name = _epoch(study, epoch)
    try:
        return _Epoch.model_validate_json(_unsealed(store, name))
    except ValidationError as error:
        raise IntegrityError(f"{name} in {store.uri} cannot be understood: {error}") from error


def _read_object(store: Store, name: str) -> list[Record]:
    try:
        return [RECORD.validate_json(line) for line in _unsealed(store, name).splitlines()]
    except ValidationError as error:
        raise IntegrityError(f"{name} in {store.uri} cannot be understood: {error}") from error


def _open_epoch(store: Store, study: str, epoch: int, accepts: int) -> bool:
    """Whether the epoch is ours now; False where another driver opened it first."""
    opened = _Epoch(accepts=accepts, host=socket.gethostname(), pid=os.getpid(), at=time.time())
    try:
        store.create(_epoch(study, epoch), _seal(opened.model_dump_json().encode() + b"\n"))
    except NameTaken:
        return False
    return True
