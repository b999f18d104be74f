"""The objects of a study's journal: their names, what they hold, and how an epoch begins and ends.

studies/<study>/epochs/<epoch>.jsonl            who opened the epoch
studies/<study>/journal/<epoch>/<number>.jsonl  records that became durable together, a line each; the last: the end

The last line of an object is the digest of the lines before it.

Why everyone reads all that was confirmed, and nothing that others do not: a driver confirms an object when, having
created it, it sees no later epoch. An opener creates its epoch first and lists the journal then, so that it finds
whatever was or ever will be confirmed; the end goes to the place that follows. A place is had once: by the end, or by
a last object that came late, which then counts. Nobody writes into an epoch before all earlier ones have their ends.
"""

from __future__ import annotations

import hashlib
import os
import socket
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import NamedTuple, TypeVar
from uuid import uuid4

from pydantic import ValidationError

from pipeline.records import RECORD, Record
from pipeline.store_port import MissingObject, NameTaken, Store
from trainers.errors import IntegrityError, NotImportable
from trainers.registry import Part

_CHUNK, _AT_ONCE = 32, 16
_In = TypeVar("_In")
_Out = TypeVar("_Out")


class Place(NamedTuple):
    """Where an object is in the journal; numbers begin at 1."""

    epoch: int
    number: int


class Lost(IntegrityError):
    """An object that others need is not there: it is lost, or a compaction removed it a moment ago."""


class _Epoch(Part):
    host: str
    pid: int
    at: float
    nonce: str  # tells this opener from all others


# -- names -------------------------------------------------------------------------------------------------------------


def epoch_name(study: str, epoch: int) -> str:
    """Return the name of the object that opens an epoch."""
    return f"studies/{study}/epochs/{epoch:06d}.jsonl"


def record_name(study: str, place: Place) -> str:
    """Return the name of an object of the journal."""
    return f"studies/{study}/journal/{place.epoch:06d}/{place.number:08d}.jsonl"


def places(store: Store, study: str) -> dict[int, list[int]]:
    """Return the sorted numbers of the journal's objects by epoch; files of others are left alone."""
    found: dict[int, list[int]] = {}
    for name in store.names(f"studies/{study}/journal"):
        epoch, number = name.removesuffix(".jsonl").split("/")[-2:]
        if epoch.isdecimal() and number.isdecimal():
            found.setdefault(int(epoch), []).append(int(number))
    return found


# -- objects -----------------------------------------------------------------------------------------------------------


def with_digest(body: bytes) -> bytes:
    """Return an object's content: its lines, and the line that vouches for them."""
    return body + b'{"sha256":"%s"}\n' % hashlib.sha256(body).hexdigest().encode()


END = with_digest(b'{"kind":"end"}\n')


def read(store: Store, name: str) -> bytes | None:
    """Return an object's content, or None where there is none."""
    try:
        return store.read(name)
    except MissingObject:
        return None


def body_of(store: Store, name: str, data: bytes | None) -> bytes:
    """Return the lines of an object whose content is `data`.

    Raises:
        Lost: there is no content.
        IntegrityError: it does not have its digest.
    """
    if data is None:
        raise Lost(f"{name} is missing from {store.uri}, though others need it")
    end = data.rfind(b"\n", 0, -1) + 1
    if data != with_digest(data[:end]):
        raise IntegrityError(f"{name} in {store.uri} is corrupt: its content does not have its digest")
    return data[:end]


def create_own(store: Store, name: str, data: bytes) -> bool:
    """Create an object, and tell whether it is ours: an answer that got lost leaves the same content behind."""
    try:
        store.create(name, data)
    except NameTaken:
        return read(store, name) == data
    return True


def lines_of(records: Iterable[Record]) -> bytes:
    """Return records as the lines of an object."""
    return b"".join(RECORD.dump_json(record) + b"\n" for record in records)


def records_of(store: Store, name: str, data: bytes | None) -> list[Record] | None:
    """Return the records of an object whose content is `data`, or None for an epoch's end.

    Raises:
        NotImportable: one names what is not here, such as the module of a variant of the user's own.
        IntegrityError: one is no record; raises as `body_of`, too.
    """
    if data == END:
        return None
    try:
        return [RECORD.validate_json(line) for line in body_of(store, name, data).splitlines()]
    except ValidationError as error:
        if (absent := _absent(error)) is not None:
            raise NotImportable(f"{name} in {store.uri} names what is not here: {absent}") from error
        raise IntegrityError(f"{name} in {store.uri} cannot be understood: {error}") from error


def _absent(error: ValidationError) -> NotImportable | None:
    """Return why a record names what is not here; None where that is not what is wrong with it."""
    told = [part.get("ctx", {}).get("error") for part in error.errors()]
    causes = [cause for wrong in told if wrong is not None for cause in (wrong, wrong.__cause__)]
    return next((cause for cause in causes if isinstance(cause, NotImportable)), None)


def each(call: Callable[[_In], _Out], items: Sequence[_In]) -> Iterator[_Out]:
    """Call for each item and yield the results in order; several at once where there are many: a store may be far."""
    if len(items) <= _CHUNK:
        yield from map(call, items)
        return
    chunks = [items[first : first + _CHUNK] for first in range(0, len(items), _CHUNK)]
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        for results in pool.map(lambda chunk: [call(item) for item in chunk], chunks):
            yield from results


# -- epochs ------------------------------------------------------------------------------------------------------------


def open_epoch(store: Store, study: str) -> int:
    """Open an epoch, end those before it, and return its number."""
    mine = _Epoch(host=socket.gethostname(), pid=os.getpid(), at=time.time(), nonce=uuid4().hex)
    content = with_digest(mine.model_dump_json().encode() + b"\n")
    while True:
        epoch = _newest(store, study) + 1
        if create_own(store, epoch_name(study, epoch), content):
            break  # else another driver came between: look again
    journal = places(store, study)
    oldest = max(journal, default=1)  # those before it have ends: the newest epoch that has an object says so
    for earlier in range(oldest, epoch):
        _end(store, study, Place(earlier, max(journal.get(earlier, [0]))))
    return epoch


def _newest(store: Store, study: str) -> int:
    opened = (name.removesuffix(".jsonl").split("/")[-1] for name in store.names(f"studies/{study}/epochs"))
    return max([int(epoch) for epoch in opened if epoch.isdecimal()] + [0, *places(store, study)])


def _end(store: Store, study: str, last: Place) -> None:
    """End an epoch behind its last object, which may be its end, or be followed by one that came meanwhile."""
    while read(store, record_name(study, last)) != END:
        last = last._replace(number=last.number + 1)
        with suppress(NameTaken):
            store.create(record_name(study, last), END)
