"""The journal's beginning as one Parquet blob, so that a study of many records opens fast.

studies/<study>/compacted/<epoch>-<number>.jsonl  the blob that holds all records up to this place of the journal

Why one that comes late does no harm: it holds and removes what its driver saw confirmed, which every later epoch has
too, and of two the one with the higher place holds all that the other does. An epoch's last record and its end stay:
so the next place of an epoch is always seen, and a driver that was replaced never finds a place free which was taken.
"""

from __future__ import annotations

import io
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from pydantic import Field, ValidationError

from pipeline.journal import Lost, Place, body_of, create_own, each, places, read, record_name, with_digest
from pipeline.records import RECORD, Record
from pipeline.store_port import Store
from trainers.errors import IntegrityError
from trainers.registry import Part

if TYPE_CHECKING:
    from collections.abc import Sequence


class _Compacted(Part):
    blob: str
    records: int = Field(ge=0)


def newest(store: Store, study: str) -> Place:
    """Return how far the journal is compacted; epoch 0: not at all."""
    return max(_all(store, study), default=Place(0, 0))


def blobs(store: Store, study: str) -> set[str]:
    """Return the digests of the blobs that hold what is compacted of a study's journal."""
    return {_entry(store, _name(study, place)).blob for place in _all(store, study)}


def compacted(store: Store, study: str, place: Place) -> list[Record]:
    """Return all records up to a place to which the journal is compacted.

    Raises:
        Lost: the object or its blob is missing or, for the blob, corrupt: another compaction may have replaced it.
        IntegrityError: one cannot be understood; the message names it.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    name = _name(study, place)
    entry = _entry(store, name)
    try:
        blob = store.get(entry.blob)
    except IntegrityError as error:
        raise Lost(f"the records that {name} names cannot be read: {error}") from error
    try:
        lines = pq.read_table(io.BytesIO(blob), columns=["record"]).column("record").to_pylist()
    except (pa.ArrowException, KeyError) as error:
        raise IntegrityError(f"blob {entry.blob} in {store.uri} cannot be read: {error}") from error
    if len(lines) != entry.records:
        raise IntegrityError(f"{name} in {store.uri} names {entry.records} records, but its blob has {len(lines)}")
    try:
        return [RECORD.validate_json(line) for line in lines]
    except ValidationError as error:
        raise IntegrityError(f"blob {entry.blob} in {store.uri} cannot be understood: {error}") from error


def compact(store: Store, study: str, place: Place, records: Sequence[Record]) -> None:
    """Put all records up to a place into one blob, and remove what that replaces; may die anywhere, and be repeated.

    Args:
        store: where the study lies.
        study: its name.
        place: the last object that its driver confirmed in its own epoch; number 0: none yet.
        records: all up to there, in order.
    """
    name = _name(study, place)
    blob = store.put(_parquet(name, records))
    entry = _Compacted(blob=blob, records=len(records))
    create_own(store, name, with_digest(entry.model_dump_json().encode() + b"\n"))
    names = [record_name(study, covered) for covered in _covered(places(store, study), place)]
    for _ in each(store.remove, names):
        pass
    for older in _all(store, study):
        if older < place:
            _remove(store, _name(study, older))


def _covered(journal: dict[int, list[int]], place: Place) -> list[Place]:
    """Return what may be removed: all but the last of the driver's own epoch, and the last record and end of others."""
    ended = {epoch: sorted(numbers)[:-2] for epoch, numbers in journal.items() if epoch < place.epoch}
    own = [number for number in journal.get(place.epoch, []) if number < place.number]
    return [Place(epoch, number) for epoch, numbers in {**ended, place.epoch: own}.items() for number in numbers]


def _remove(store: Store, name: str) -> None:
    try:
        blob = _entry(store, name).blob
    except Lost:
        return  # another driver was faster
    store.discard(blob)
    store.remove(name)


def _parquet(name: str, records: Sequence[Record]) -> bytes:
    """Return a row a record; the name makes the blob this compaction's own, to be removed with it and no other."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    columns = {
        "position": pa.array(range(len(records)), pa.int64()),
        "kind": pa.array([record.kind for record in records], pa.string()),
        "trial": pa.array([_trial(record) for record in records], pa.int64()),
        "at": pa.array([record.at for record in records], pa.float64()),
        "record": pa.array([RECORD.dump_json(record).decode() for record in records], pa.string()),
    }
    file = io.BytesIO()
    pq.write_table(pa.table(columns, metadata={"name": name}), file, compression="zstd")
    return file.getvalue()


def _trial(record: Record) -> int | None:
    return record.spec.number if record.kind == "trial" else getattr(record, "trial", None)


def _name(study: str, place: Place) -> str:
    return f"studies/{study}/compacted/{place.epoch:06d}-{place.number:08d}.jsonl"


def _all(store: Store, study: str) -> list[Place]:
    stems = (PurePosixPath(name).stem.partition("-") for name in store.names(f"studies/{study}/compacted"))
    return [Place(int(epoch), int(number)) for epoch, _, number in stems if epoch.isdecimal() and number.isdecimal()]


def _entry(store: Store, name: str) -> _Compacted:
    try:
        return _Compacted.model_validate_json(body_of(store, name, read(store, name)))
    except ValidationError as error:
        raise IntegrityError(f"{name} in {store.uri} cannot be understood: {error}") from error
