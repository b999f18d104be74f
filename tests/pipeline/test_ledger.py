"""What is durable, who may write, and what a reader believes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from copy import deepcopy
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.ledger import Ledger, read_book, read_records, study_names
from pipeline.place import resolve_study
from pipeline.records import BudgetRecord, Record, TrialState
from pipeline.store import Store, open_store
from tests.fakes.journal import attempt, decision, finish, late, loss, registration, run, segment, study, trial
from tests.fakes.memory_store import MemoryStore
from trainers.config import TrainConfig
from trainers.errors import ConfigError, IntegrityError, StateConflict, Unreachable
from trainers.stability.events import Event

ROOT = Path(__file__).parents[2]
EPOCHS = "studies/digits/epochs"
JOURNAL = "studies/digits/journal"


class Elsewhere(MemoryStore):
    """A store in which every driver believes all others to be dead; the hooks run around each creation."""

    def __init__(self, before: Callable[[str], None] | None = None, after: Callable[[str], None] | None = None) -> None:
        super().__init__()
        self.before, self.after = before, after

    def create(self, name: str, data: bytes) -> None:
        if self.before is not None:
            self.before(name)
        super().create(name, data)
        if self.after is not None:
            self.after(name)

    @contextmanager
    def guard(self, name: str) -> Iterator[bool]:
        yield True


@pytest.fixture(params=["disk", "memory"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    return open_store(tmp_path) if request.param == "disk" else MemoryStore()


def whole_study() -> list[Record]:
    """One record of each kind, with everything in it that a round trip could lose."""
    events = (Event(kind="non_finite", step=7, severity=1 / 3, action="stop", evidence={"share": 0.1, "worst": "nan"}),)
    config = TrainConfig.model_validate({"penalty": {"name": "gradient", "lambda": 0.1}, "network": "dcgan"})
    asked = trial(0)
    params = {"flag": True, "count": 3, "rate": 1e-5, "name": "ä\r\n\u2028"}
    asked = asked.model_copy(update={"spec": asked.spec.model_copy(update={"config": config, "params": params})})
    return [
        study(),
        asked,
        attempt(0),
        segment(0, 0, 0, 50, 0.1 + 0.2, events=events),
        loss(0),
        decision(0, TrialState.COMPLETED, best_index=0, score=0.1 + 0.2),
        late(0),
        finish(0),
        run(0),
        run(None),
        registration(0),
        BudgetRecord(at=9.0, config={"trials": 9, "nested": {"a": [1, None, 0.1]}}, allowed=("torch 2 is now 3",)),
    ]


# -- writing and reading -----------------------------------------------------------------------------------------------


def test_every_record_is_read_as_it_was_written(store: Store) -> None:
    records = whole_study()
    with Ledger.open(store, "digits") as ledger:
        ledger.append(*records[:2])
        for record in records[2:]:
            ledger.append(record)
        assert ledger.records == records
        assert read_records(store, "digits") == records  # while it is open
        assert read_book(store, "digits") == ledger.book
    reopened = Ledger.open(store, "digits")
    assert reopened.records == records
    assert reopened.book == ledger.book
    config = reopened.book.trials[0].spec.config
    assert config.penalty.model_dump() == {"name": "gradient", "lambda": 0.1, "every": 1}
    reopened.close()


def test_records_are_json_lines_in_numbered_objects(store: Store) -> None:
    with Ledger.open(store, "digits") as ledger:
        ledger.append(study(), trial(0))
        ledger.append(run(0))
    with Ledger.open(store, "digits") as ledger:
        ledger.append(run(None))
    first, second, end, third = store.names(JOURNAL)
    assert first == f"{JOURNAL}/000001/00000001.jsonl"
    assert second == f"{JOURNAL}/000001/00000002.jsonl"
    assert (end, third) == (f"{JOURNAL}/000001/00000003.jsonl", f"{JOURNAL}/000002/00000001.jsonl")
    lines = [json.loads(line) for line in store.read(first).splitlines()]
    assert [line.get("kind") for line in lines] == ["study", "trial", None]
    assert lines[0]["schema"] == 1
    opened = [json.loads(store.read(name).splitlines()[0]) for name in store.names(EPOCHS)]
    assert [epoch["pid"] for epoch in opened] == [os.getpid()] * 2
    assert opened[0]["nonce"] != opened[1]["nonce"]


def test_book_and_records_are_the_same_objects_throughout(store: Store) -> None:
    with Ledger.open(store, "digits") as ledger:
        book, records = ledger.book, ledger.records
        ledger.append(study(), trial(0))
        one = book.trials[0]
        ledger.append(segment(0, 0, 0, 50, 1.0))
        assert (book.trials[0], one.steps, len(records)) == (one, 50, 3)
        assert ledger.book is book


def test_appending_nothing_writes_nothing(store: Store) -> None:
    with Ledger.open(store, "digits") as ledger:
        ledger.append()
    assert store.names(JOURNAL) == []


# -- what is staged ----------------------------------------------------------------------------------------------------


def test_what_is_staged_is_in_the_book_at_once_and_durable_as_one_object_with_the_commit(store: Store) -> None:
    with Ledger.open(store, "digits") as ledger:
        ledger.stage(study(), trial(0))
        ledger.stage(segment(0, 0, 0, 50, 1.0))
        assert ledger.book.trials[0].steps == 50
        assert ledger.records == read_records(store, "digits") == []
        ledger.commit()
        assert store.names(JOURNAL) == [f"{JOURNAL}/000001/00000001.jsonl"]
        assert ledger.records == read_records(store, "digits") == [study(), trial(0), segment(0, 0, 0, 50, 1.0)]
        ledger.commit()
        assert len(store.names(JOURNAL)) == 1
        ledger.stage(run(0))
        ledger.append(run(None))
        assert len(store.names(JOURNAL)) == 2
    assert read_records(store, "digits")[3:] == [run(0), run(None)]


def test_an_impossible_record_is_not_staged_and_what_was_staged_before_stays(store: Store) -> None:
    with Ledger.open(store, "digits") as ledger:
        ledger.stage(study(), trial(0))
        book = deepcopy(ledger.book)
        with pytest.raises(IntegrityError):
            ledger.stage(run(0), trial(0))
        assert ledger.book == book
        ledger.commit()
    assert read_records(store, "digits") == [study(), trial(0)]


def test_what_was_staged_and_not_committed_is_dropped_at_the_end(store: Store) -> None:
    with Ledger.open(store, "digits") as ledger:
        ledger.append(study())
        ledger.stage(trial(0))
    assert ledger.book.trials == {}
    ledger.commit()
    with pytest.raises(StateConflict, match="closed"):
        ledger.stage(trial(0))
    assert read_records(store, "digits") == [study()]


def test_a_commit_that_fails_drops_what_was_staged_from_the_book() -> None:
    store = Elsewhere()
    ledger = Ledger.open(store, "digits")
    ledger.append(study(), trial(0))
    book, before = ledger.book, deepcopy(ledger.book)
    ledger.stage(segment(0, 0, 0, 50, 1.0))
    ledger.stage(trial(1), decision(0, TrialState.COMPLETED))

    def fail(name: str) -> None:
        raise Unreachable("the disk is full")

    store.before = fail
    with pytest.raises(Unreachable):
        ledger.commit()
    store.before = None
    assert ledger.book is book
    assert book == before
    ledger.commit()
    assert ledger.records == read_records(store, "digits") == [study(), trial(0)]


# -- what fails leaves nothing -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "records", [(segment(0, 1, 50, 100),), (trial(1), attempt(1), run(7)), (segment(0, 0, 0, 50), segment(0, 0, 0, 50))]
)
def test_an_impossible_record_is_not_written(store: Store, records: tuple[Record, ...]) -> None:
    with Ledger.open(store, "digits") as ledger:
        ledger.append(study(), trial(0))
        book = deepcopy(ledger.book)
        with pytest.raises(IntegrityError):
            ledger.append(*records)
        assert ledger.book == book
        assert ledger.records == read_records(store, "digits") == [study(), trial(0)]
        ledger.append(run(0))
    assert read_records(store, "digits") == [study(), trial(0), run(0)]


def test_a_write_that_fails_changes_nothing_and_can_be_repeated() -> None:
    full = False

    def fail(name: str) -> None:
        if full:
            raise Unreachable("the disk is full")

    store = Elsewhere(fail)
    ledger = Ledger.open(store, "digits")
    ledger.append(study(), trial(0))
    book = deepcopy(ledger.book)
    full = True
    with pytest.raises(Unreachable, match="full"):
        ledger.append(segment(0, 0, 0, 50, 1.0), decision(0, TrialState.COMPLETED))
    assert ledger.book == book
    assert ledger.records == [study(), trial(0)] == read_records(store, "digits")
    full = False
    ledger.append(run(0))
    assert read_records(store, "digits") == ledger.records == [study(), trial(0), run(0)]


def lose(name: str) -> None:
    if name == f"{JOURNAL}/000001/00000002.jsonl":
        raise Unreachable("no answer")


def test_a_write_whose_answer_got_lost_is_done_once_when_it_is_repeated() -> None:
    store = Elsewhere(after=lose)
    ledger = Ledger.open(store, "digits")
    ledger.append(study())
    with pytest.raises(Unreachable, match="no answer"):
        ledger.append(trial(0))
    ledger.append(trial(0))
    ledger.append(run(0))
    assert ledger.records == [study(), trial(0), run(0)] == read_records(store, "digits")


def test_an_epoch_whose_answer_got_lost_inside_the_store_is_ours() -> None:
    class Twice(MemoryStore):
        def create(self, name: str, data: bytes) -> None:
            super().create(name, data)
            super().create(name, data)  # the client's own retry of a call that had succeeded

    store = Twice()
    with Ledger.open(store, "digits") as ledger:
        ledger.append(study())
    assert store.names(EPOCHS) == [f"{EPOCHS}/000001.jsonl"]
    assert read_records(store, "digits") == [study()]


def test_a_write_of_unknown_outcome_stops_the_driver_and_is_read_by_the_next() -> None:
    store = Elsewhere(after=lose)
    ledger = Ledger.open(store, "digits")
    ledger.append(study())
    with pytest.raises(Unreachable, match="no answer"):
        ledger.append(trial(0))
    with pytest.raises(StateConflict, match="does not know"):
        ledger.append(run(None))
    assert ledger.records == [study()]
    assert ledger.book.trials == {}
    assert Ledger.open(store, "digits").records == [study(), trial(0)]


# -- one writer --------------------------------------------------------------------------------------------------------


def test_a_study_has_one_driver_at_a_time(store: Store) -> None:
    with Ledger.open(store, "digits", beat=0.1) as ledger:
        with pytest.raises(StateConflict, match="study 'digits' is in use"):
            Ledger.open(store, "digits", beat=0.1)
        Ledger.open(store, "mnist").close()
        ledger.append(study())
        ledger.close()
        ledger.close()
        with pytest.raises(StateConflict, match="closed"):
            ledger.append(run(None))
    with Ledger.open(store, "digits") as ledger:
        assert ledger.records == [study()]


def test_a_study_that_cannot_be_opened_is_not_held(store: Store) -> None:
    store.create(f"{JOURNAL}/000001/00000001.jsonl", b"{}")
    for _ in range(2):
        with pytest.raises(IntegrityError, match=r"00000001\.jsonl"):
            Ledger.open(store, "digits")
    with store.guard("digits") as got:
        assert got


def test_a_driver_that_was_replaced_is_told_and_its_records_do_not_count() -> None:
    store = Elsewhere()
    zombie = Ledger.open(store, "digits")
    zombie.append(study(), trial(0))
    heir = Ledger.open(store, "digits")
    with pytest.raises(StateConflict, match="took study 'digits' over"):
        zombie.append(decision(0, TrialState.FAILED))
    assert zombie.records == [study(), trial(0)]
    assert not zombie.book.trials[0].state.final
    heir.append(decision(0, TrialState.PRUNED))
    assert read_records(store, "digits") == [study(), trial(0), decision(0, TrialState.PRUNED)]
    assert read_book(store, "digits").trials[0].state is TrialState.PRUNED


def test_what_is_confirmed_until_the_epoch_is_open_counts() -> None:
    store = Elsewhere()
    zombie = Ledger.open(store, "digits")
    zombie.append(study())

    def late(name: str) -> None:
        store.before = None
        assert name == f"{EPOCHS}/000002.jsonl"
        zombie.append(trial(0))

    store.before = late
    heir = Ledger.open(store, "digits")
    assert heir.records == [study(), trial(0)] == zombie.records == read_records(store, "digits")
    with pytest.raises(StateConflict):
        zombie.append(run(None))


def test_of_two_that_open_at_once_the_later_one_goes_on_from_the_other() -> None:
    store = Elsewhere()

    def other(name: str) -> None:
        store.before = None
        assert name == f"{EPOCHS}/000001.jsonl"
        Ledger.open(store, "digits").append(study())

    store.before = other
    ledger = Ledger.open(store, "digits")
    assert ledger.records == [study()]
    ledger.append(trial(0))
    assert store.names(EPOCHS) == [f"{EPOCHS}/000001.jsonl", f"{EPOCHS}/000002.jsonl"]
    assert read_records(store, "digits") == [study(), trial(0)]


def next_record(ledger: Ledger, choice: int) -> Record:
    """A record that can follow in this ledger's book."""
    book = ledger.book
    if book.study is None:
        return study()
    open_trials = [one for one in book.trials.values() if not one.state.final]
    if choice == 0 or not open_trials:
        return trial(len(book.trials))
    one = open_trials[choice % len(open_trials)]
    if choice % 3 == 0:
        return decision(one.number, TrialState.PRUNED)
    return segment(one.number, len(one.segments), one.steps, one.steps + 10, float(choice))


ACTION = st.one_of(
    st.tuples(st.just("append"), st.lists(st.integers(0, 5), min_size=1, max_size=3)),
    st.tuples(st.just("open"), st.just([0])),
    st.tuples(
        st.sampled_from(["zombie appends", "zombie writes"]), st.lists(st.integers(0, 5), min_size=1, max_size=2)
    ),
)


@settings(deadline=None)
@given(st.lists(ACTION, max_size=25))
def test_exactly_what_was_accepted_is_replayed(actions: list[tuple[str, list[int]]]) -> None:
    store = Elsewhere()
    drivers = [Ledger.open(store, "digits")]
    accepted: list[Record] = []
    for action, choices in actions:
        zombie = drivers[choices[0] % len(drivers)]
        superseded = zombie is not drivers[-1]
        if action == "open":
            drivers.append(Ledger.open(store, "digits"))
        elif action == "append":
            for choice in choices:
                accepted.append(next_record(drivers[-1], choice))
                drivers[-1].append(accepted[-1])
        elif action == "zombie appends" and superseded:
            with pytest.raises(StateConflict):
                zombie.append(*(next_record(zombie, choice) for choice in choices[:1]))
        elif action == "zombie writes" and superseded:
            folder = f"{JOURNAL}/{drivers.index(zombie) + 1:06d}"
            number = len(store.names(folder)) + choices[-1] % 2 + 1  # with and without a gap
            store.objects.setdefault(f"{folder}/{number:08d}.jsonl", b"whatever it is")
        assert read_records(store, "digits") == accepted
        assert drivers[-1].records == accepted
        assert read_book(store, "digits") == drivers[-1].book


APPEND = """
import sys
from pipeline.ledger import Ledger
from pipeline.store import open_store
from tests.fakes.journal import segment, study, trial
ledger = Ledger.open(open_store(sys.argv[1]), "digits")
if not ledger.records:
    ledger.append(study(), trial(0))
while True:
    index = len(ledger.book.trials[0].segments)
    ledger.append(segment(0, index, index * 10, index * 10 + 10, 1.0))
    print(len(ledger.records), flush=True)
"""


def test_what_was_confirmed_outlives_kills_and_the_next_driver_goes_on_at_once(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    for _ in range(3):
        process = subprocess.Popen(
            [sys.executable, "-c", APPEND, store.uri], cwd=ROOT, stdout=subprocess.PIPE, text=True
        )
        try:
            assert process.stdout is not None
            confirmed = [int(process.stdout.readline()) for _ in range(15)][-1]
        finally:
            process.send_signal(signal.SIGKILL)
            process.communicate()
        assert len(read_records(store, "digits")) >= confirmed
    with Ledger.open(store, "digits") as ledger:
        assert ledger.book.trials[0].steps == 10 * len(ledger.book.trials[0].segments) >= 450
        ledger.append(decision(0, TrialState.COMPLETED))


# -- damage ------------------------------------------------------------------------------------------------------------


def two_epochs() -> MemoryStore:
    store = MemoryStore()
    for records in ([study(), trial(0)], [segment(0, 0, 0, 50, 1.25)]):
        with Ledger.open(store, "digits") as ledger:
            ledger.append(*records)
            ledger.append(run(0))
    return store


NAMES = two_epochs().names(JOURNAL)


def assert_named(store: Store, name: str) -> None:
    for use in (read_records, read_book, Ledger.open):
        with pytest.raises(IntegrityError, match=name):
            use(store, "digits")


@settings(deadline=None)
@given(st.sampled_from(NAMES), st.integers(0, 10_000), st.integers(0, 7))
def test_a_flipped_bit_is_never_read(name: str, byte: int, bit: int) -> None:
    store = two_epochs()
    content = bytearray(store.objects[name])
    content[byte % len(content)] ^= 1 << bit
    store.objects[name] = bytes(content)
    assert_named(store, name)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("cut", [lambda lines: lines[:-1], lambda lines: lines[1:], lambda lines: [*lines, b"{}\n"]])
def test_a_cut_object_is_named(name: str, cut: Callable[[list[bytes]], list[bytes]]) -> None:
    store = two_epochs()
    store.objects[name] = b"".join(cut(store.objects[name].splitlines(keepends=True)))
    assert_named(store, name)


@pytest.mark.parametrize("name", NAMES)
def test_a_lost_object_is_named(name: str) -> None:
    store = two_epochs()
    with Ledger.open(store, "digits") as ledger:
        ledger.append(run(None))  # so that none of the names is the newest
    del store.objects[name]
    assert_named(store, name)


def test_no_epoch_is_opened_twice_though_its_object_was_lost() -> None:
    store = two_epochs()
    before = read_records(store, "digits")
    del store.objects[f"{EPOCHS}/000002.jsonl"]
    with Ledger.open(store, "digits") as ledger:
        assert ledger.records == before
    assert store.names(EPOCHS) == [f"{EPOCHS}/000001.jsonl", f"{EPOCHS}/000003.jsonl"]


def test_files_of_others_are_left_alone(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    with Ledger.open(store, "digits") as ledger:
        ledger.append(study())
    for folder in (EPOCHS, f"{JOURNAL}/000001"):
        (tmp_path / folder / ".DS_Store").write_text("")
        (tmp_path / folder / "notes.jsonl").write_text("")
    assert read_records(store, "digits") == [study()]
    Ledger.open(store, "digits").close()


# -- which study -------------------------------------------------------------------------------------------------------


def begin(store: Store, *names: str) -> None:
    for name in names:
        with Ledger.open(store, name) as ledger:
            ledger.append(study(study=name))


def test_the_only_study_needs_no_name(store: Store) -> None:
    begin(store, "digits")
    assert resolve_study(store, None) == resolve_study(store, "digits") == "digits"


def test_several_studies_are_listed(store: Store) -> None:
    begin(store, "rings", "digits")
    assert study_names(store) == ["digits", "rings"]
    assert resolve_study(store, "rings") == "rings"
    with pytest.raises(ConfigError, match=r"--study must say which .*: digits, rings"):
        resolve_study(store, None)
    with pytest.raises(ConfigError, match=r"no study 'digit' .*did you mean 'digits'\? \(known: digits, rings\)"):
        resolve_study(store, "digit")


def test_a_study_without_a_record_is_none(store: Store) -> None:
    for _ in range(2):  # the second one ends the epoch of the first
        Ledger.open(store, "digits").close()
    assert study_names(store) == []
    for name in (None, "digits"):
        with pytest.raises(ConfigError, match=r"there is no study in .*gansearch search"):
            resolve_study(store, name)


@pytest.mark.parametrize("name", ["", "a/b", "..", "a b", "a\n"])
def test_a_study_name_of_another_form_is_refused(store: Store, name: str) -> None:
    for use in (Ledger.open, read_records, read_book):
        with pytest.raises(ConfigError, match="study must be"):
            use(store, name)
