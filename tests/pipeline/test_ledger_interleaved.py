"""Drivers and readers interleaved at every call of the store: what was confirmed is read, and only what stays."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, field
from itertools import count

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.ledger import Ledger, read_records
from pipeline.records import BudgetRecord, Record
from pipeline.store import Store
from tests.fakes.interleaved import Actor, Fate, OnceStore
from tests.fakes.journal import study
from trainers.errors import StateConflict, Unreachable

NEVER = 256
HOUR = 3600.0  # between beats: no thread but the actors calls the store


@dataclass
class Stage:
    """A study, and what its actors saw of it."""

    compact_at: int
    memory: OnceStore = field(default_factory=OnceStore)
    confirmed: list[Record] = field(default_factory=list)
    in_order: list[tuple[list[Record], list[Record]]] = field(default_factory=list)  # confirmed before, and after
    views: list[list[Record]] = field(default_factory=list)
    serial: count[int] = field(default_factory=count)

    def __post_init__(self) -> None:
        with Ledger.open(self.memory, "digits") as ledger:
            self.append(ledger, study())

    def write(self, store: Store) -> None:
        """Be a driver that goes on whatever happens, until it is told that it was replaced."""
        with (
            suppress(StateConflict, Unreachable),
            Ledger.open(store, "digits", beat=HOUR, compact_at=self.compact_at) as ledger,
        ):
            self.views.append(list(ledger.records))
            for size in (1, 2, 1, 1):
                self.append(ledger, *(self.record() for _ in range(size)))

    def record(self) -> BudgetRecord:
        return BudgetRecord(at=0.0, config={"serial": next(self.serial)})

    def append(self, ledger: Ledger, *records: Record) -> None:
        before = list(self.confirmed)
        with suppress(Unreachable):
            ledger.append(*records)
            self.confirmed += records
            self.in_order.append((before, list(records)))
        self.views.append(list(ledger.records))
        assert ledger.book.num_records == len(ledger.records)

    def read(self, store: Store) -> None:
        """Be a reader, who sees at least what was confirmed when it began."""
        for _ in range(4):
            before = list(self.confirmed)
            view = read_records(store, "digits")
            assert all(record in view for record in before), "what was confirmed is not read"
            self.views.append(view)

    def check(self) -> None:
        final = self.check_views()
        with Ledger.open(self.memory, "digits", beat=HOUR, compact_at=1) as heir:
            assert heir.records == final
            assert read_records(self.memory, "digits") == final

    def check_views(self) -> list[Record]:
        final = read_records(self.memory, "digits")
        place = {record.model_dump_json(): number for number, record in enumerate(final)}
        assert len(place) == len(final), "a record is read twice"
        for before, records in self.in_order:
            places = [place[record.model_dump_json()] for record in (*before[-1:], *records)]
            assert places == sorted(places), "what was confirmed later comes earlier"
        for view in self.views:
            assert view == final[: len(view)], "a reader saw what others do not see"
        return final


MOVE = st.tuples(
    st.integers(0, 3),
    st.integers(1, 12),
    st.sampled_from(["goes on"] * 12 + ["dies", "is refused", "loses the answer", "loses the answer"]),
)


@pytest.mark.parametrize("compact_at", [NEVER, 3, 1])
@settings(deadline=None, max_examples=100)
@given(moves=st.lists(MOVE, max_size=60))
def test_what_was_confirmed_is_read_by_all_and_no_reader_sees_what_others_do_not(
    compact_at: int, moves: list[tuple[int, int, Fate]]
) -> None:
    """A driver that gets no move is frozen; it is thawed when the others have ended, in the order of the actors."""
    stage = Stage(compact_at)
    actors = [Actor(stage.memory, work) for work in (stage.write, stage.write, stage.write, stage.read)]
    for number, steps, fate in moves:
        for _ in range(steps - 1):
            actors[number].step()
        actors[number].step(fate if number < 3 else "goes on")
    for actor in reversed(actors):
        actor.finish()
    stage.check()


# -- the narrow places -------------------------------------------------------------------------------------------------


def journal(epoch: int, number: int) -> str:
    return f"studies/digits/journal/{epoch:06d}/{number:08d}.jsonl"


def test_a_record_that_comes_between_an_openers_listing_and_its_end_counts_for_all() -> None:
    stage = Stage(NEVER)
    late, heir, reader = (Actor(stage.memory, work) for work in (stage.write, stage.write, stage.read))
    late.until(f"create {journal(2, 1)}")
    heir.until(f"create {journal(2, 1)}")
    late.finish()
    reader.finish()
    heir.finish()
    assert len(stage.views[-1]) == 7  # the study, the late one, and five of the heir
    stage.check()


def test_a_driver_that_was_replaced_confirms_and_compacts_nothing_behind_an_openers_back() -> None:
    stage = Stage(1)
    late, heir = (Actor(stage.memory, stage.write) for _ in range(2))
    late.until(f"create {journal(2, 2)}")
    heir.until(f"read {journal(2, 1)}")
    late.finish()
    heir.finish()
    stage.check()


def test_an_opener_that_comes_late_finds_no_place_free_that_was_taken() -> None:
    stage = Stage(1)
    first, late, heir = (Actor(stage.memory, stage.write) for _ in range(3))
    first.until(f"create {journal(2, 2)}")
    late.until(f"create {journal(2, 2)}")
    first.finish()
    heir.finish()
    late.finish()
    stage.check()


def test_a_driver_that_was_replaced_while_it_opened_the_study_compacts_nothing() -> None:
    stage = Stage(1)
    late, heir = (Actor(stage.memory, stage.write) for _ in range(2))
    late.until(f"create {journal(1, 2)}")
    stage.compact_at = NEVER
    heir.until(f"create {journal(3, 3)}")
    late.finish()
    stage.check_views()
    heir.finish()
    stage.check()
