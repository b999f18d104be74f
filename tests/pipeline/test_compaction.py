"""What a compacted journal holds, what is removed for it, and that a death anywhere loses nothing."""

from __future__ import annotations

import io
import json
from collections import Counter
from pathlib import Path

import pyarrow.json
import pyarrow.parquet
import pytest

from pipeline.compaction import blobs
from pipeline.ledger import Ledger, read_book, read_records, study_names
from pipeline.records import RECORD, Record
from pipeline.store import Store, open_store
from tests.fakes.interleaved import Actor
from tests.fakes.journal import finish, late, run, segment, study, trial
from tests.fakes.memory_store import MemoryStore
from trainers.errors import IntegrityError, Unreachable

COMPACTED = "studies/digits/compacted"
JOURNAL = "studies/digits/journal"
BEGUN: tuple[Record, ...] = (study(), trial(0), run(None), segment(0, 0, 0, 50, 0.1 + 0.2), late(0), finish(0))


@pytest.fixture(params=["disk", "memory"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    return open_store(tmp_path) if request.param == "disk" else MemoryStore()


def segments(number: int, first: int = 0) -> list[Record]:
    return [segment(0, index, index * 10, index * 10 + 10, 1 / (index + 1)) for index in range(first, first + number)]


def written(store: Store, compact_at: int, *records: Record) -> list[Record]:
    with Ledger.open(store, "digits", compact_at=compact_at) as ledger:
        for record in records:
            ledger.append(record)
        return list(ledger.records)


def blob_of(store: Store) -> str:
    (name,) = store.names(COMPACTED)
    return str(json.loads(store.read(name).splitlines()[0])["blob"])


# -- what it holds -----------------------------------------------------------------------------------------------------


def test_a_compacted_study_reads_as_before_and_goes_on(store: Store) -> None:
    assert written(store, 4, *BEGUN) == list(BEGUN)
    assert store.names(COMPACTED) == [f"{COMPACTED}/000001-00000004.jsonl"]
    assert store.names(JOURNAL) == [f"{JOURNAL}/000001/{number:08d}.jsonl" for number in (4, 5, 6)]
    assert read_records(store, "digits") == list(BEGUN)
    assert study_names(store) == ["digits"]
    assert written(store, 4, run(0)) == [*BEGUN, run(0)]
    assert read_records(store, "digits") == [*BEGUN, run(0)]
    assert read_book(store, "digits").num_records == 7


def test_a_study_that_is_compacted_whole_is_still_one(store: Store) -> None:
    written(store, 1, *BEGUN[:3])
    written(store, 1)
    assert study_names(store) == ["digits"]
    assert read_records(store, "digits") == list(BEGUN[:3])


class Counting(MemoryStore):
    reads = 0

    def read(self, name: str) -> bytes:
        self.reads += 1
        return super().read(name)


def test_drivers_that_write_nothing_make_a_study_no_slower_to_read() -> None:
    store = Counting()
    written(store, 8, *BEGUN)
    for _ in range(50):
        written(store, 8)
    store.reads = 0
    assert read_records(store, "digits") == list(BEGUN)
    assert store.reads < 20


def test_a_study_without_a_record_is_none_however_often_it_was_opened() -> None:
    store = MemoryStore()
    for _ in range(10):
        written(store, 2)
    assert study_names(store) == []
    assert written(store, 2, *BEGUN) == list(BEGUN)


def test_pyarrow_reads_the_journal_and_the_blob(store: Store) -> None:
    written(store, 4, *BEGUN)
    for name, record in zip(store.names(JOURNAL)[1:], BEGUN[4:], strict=True):
        rows = pyarrow.json.read_json(io.BytesIO(store.read(name))).to_pylist()
        assert (rows[0]["kind"], rows[0]["at"]) == (record.kind, record.at)
    assert blobs(store, "digits") == {blob_of(store)}
    table = pyarrow.parquet.read_table(io.BytesIO(store.get(blob_of(store))))
    assert {field.name: str(field.type) for field in table.schema} == {
        "position": "int64",
        "kind": "string",
        "trial": "int64",
        "at": "double",
        "record": "string",
    }
    rows = table.to_pylist()
    assert [row["position"] for row in rows] == [0, 1, 2, 3]
    assert [(row["kind"], row["trial"]) for row in rows] == [
        ("study", None),
        ("trial", 0),
        ("run", None),
        ("segment", 0),
    ]
    assert [row["at"] for row in rows] == [record.at for record in BEGUN[:4]]
    assert [RECORD.validate_json(row["record"]) for row in rows] == list(BEGUN[:4])


# -- when, and what goes -----------------------------------------------------------------------------------------------


def test_it_is_time_at_a_number_of_objects_or_half_of_what_is_compacted() -> None:
    store = MemoryStore()
    with Ledger.open(store, "digits", compact_at=4) as ledger:
        ledger.append(study(), trial(0), *segments(18))
        positions = []
        for record in segments(20, 18):
            ledger.append(record)
            positions += [name for name in store.names(COMPACTED) if name not in positions]
    # 20 records in one object; then at 4 objects, which is 23 records; then half of these later, and so on
    assert [int(name[-14:-6]) for name in positions] == [4, 15]


def test_a_study_that_is_opened_with_many_objects_is_compacted_then() -> None:
    store = MemoryStore()
    written(store, 100, *BEGUN)
    assert store.names(COMPACTED) == []
    written(store, 6)
    assert store.names(COMPACTED) == [f"{COMPACTED}/000002-00000000.jsonl"]
    assert store.names(JOURNAL) == [f"{JOURNAL}/000001/00000006.jsonl", f"{JOURNAL}/000001/00000007.jsonl"]
    assert read_records(store, "digits") == list(BEGUN)


def test_older_compactions_go_with_their_blobs(store: Store) -> None:
    written(store, 1, *BEGUN[:1])
    old = blob_of(store)
    written(store, 1, *BEGUN[1:])
    assert blob_of(store) != old
    with pytest.raises(IntegrityError, match="missing"):
        store.get(old)
    assert store.get(blob_of(store))


def test_many_objects_are_read_and_removed_in_order(store: Store) -> None:
    records = [study(), trial(0), *segments(150)]
    assert written(store, 1000, *records) == records
    assert written(store, 100) == records
    assert len(store.names(JOURNAL)) == 2
    assert read_records(store, "digits") == records


# -- what fails --------------------------------------------------------------------------------------------------------


class Full(MemoryStore):
    """Has no room for a blob."""

    def put(self, data: bytes) -> str:
        raise Unreachable("no room")


def test_a_compaction_that_fails_is_told_and_takes_nothing_back() -> None:
    store, told = Full(), []
    with Ledger.open(store, "digits", compact_at=2, say=told.append) as ledger:
        for record in BEGUN:
            ledger.append(record)
        assert ledger.records == list(BEGUN) == read_records(store, "digits")
    assert len(told) == 3  # tried again after as many objects
    assert all("no room" in line and "tried again later" in line for line in told)


@pytest.mark.parametrize("harm", ["lost", "damaged"])
def test_damage_to_a_compaction_is_named(harm: str) -> None:
    for kind in ("object", "blob"):
        store = MemoryStore()
        written(store, 4, *BEGUN)
        (name,) = store.names(COMPACTED)
        held = store.objects if kind == "object" else store.blobs
        key = name if kind == "object" else blob_of(store)
        if harm == "lost":
            del held[key]
        else:
            held[key] = held[key][:-9] + b"x" + held[key][-8:]
        lost_object = f"{JOURNAL}/000001/00000001.jsonl"  # which the compaction had replaced
        with pytest.raises(IntegrityError, match=lost_object if (harm, kind) == ("lost", "object") else name):
            read_records(store, "digits")


def compacting(memory: MemoryStore) -> Actor:
    def work(store: Store) -> None:
        with Ledger.open(store, "digits", beat=3600, compact_at=6) as ledger:
            ledger.append(run(0))

    return Actor(memory, work)


def test_a_death_at_any_call_of_a_compaction_loses_nothing_and_the_next_one_clears_up() -> None:
    for death in range(1000):
        memory = MemoryStore()
        written(memory, 3, *BEGUN[:4])  # an older compaction, which is to go
        written(memory, 100, *BEGUN[4:])
        actor = compacting(memory)
        for _ in range(death):
            actor.step()
        if actor.done:
            assert memory.names(COMPACTED) == [f"{COMPACTED}/000003-00000001.jsonl"]
            break
        actor.step("dies")
        records = read_records(memory, "digits")
        assert records in (list(BEGUN), [*BEGUN, run(0)])
        older = set(memory.names(COMPACTED))
        more = [finish()] * 4  # with what lies there, half of what is compacted, so that it is time again
        assert written(memory, 1, *more) == [*records, *more] == read_records(memory, "digits")
        (upto,) = (name.removeprefix(COMPACTED).replace("-", "/") for name in memory.names(COMPACTED))
        assert not older & set(memory.names(COMPACTED))
        covered = [name for name in memory.names(JOURNAL) if name.removeprefix(JOURNAL) <= upto]
        assert max(Counter(name[:-14] for name in covered).values()) <= 2  # its last record and its end
        assert len(memory.blobs) <= 2  # one that no object names yet may be left behind
    assert death > 20
