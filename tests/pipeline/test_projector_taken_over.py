"""A driver that was frozen, and thaws when another has taken its study over, shows nothing of what it knew."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from pipeline.book import Book
from pipeline.ledger import Ledger
from pipeline.projection import Outcome
from pipeline.projector import Projector, Shown
from pipeline.projectors import Projectors
from pipeline.records import Record, TrialState
from tests.fakes import shown
from tests.fakes.memory_mlflow import MemoryMlflow, MemoryMlflowTracker
from tests.fakes.memory_store import MemoryStore
from tests.fakes.tracker import MemoryTracker
from trainers.errors import IntegrityError, StateConflict, Unreachable


class Elsewhere(MemoryStore):
    """A store in which every driver believes all others to be dead."""

    @contextmanager
    def guard(self, name: str) -> Iterator[bool]:
        yield True


class Gated(MemoryMlflowTracker):
    """Waits with each call for `go_on`, as a process does that is frozen there; by itself it waits for nothing."""

    def __init__(self, mlflow: MemoryMlflow, store: MemoryStore) -> None:
        super().__init__(mlflow, store)
        self.go_on, self.waits = threading.Event(), threading.Event()
        self.go_on.set()

    def show(self, book: Book, trial: int | None, began: float) -> Shown:
        self.waits.set()
        assert self.go_on.wait(60)
        return super().show(book, trial, began)


def wait_for(condition: Callable[[], bool], seconds: float = 20.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "the condition never came true"
        time.sleep(0.005)


def unfinished(store: MemoryStore) -> tuple[list[Record], list[Record]]:
    """What a first driver knows of a study, and what a second one adds."""
    first = [shown.study(store, trials=2), *shown.trial(store, 0), *shown.trial(store, 1, None, segments=1)]
    whole = [*shown.trial(store, 1), shown.finish(0, 1)]
    return first, whole[3:]


@pytest.mark.parametrize("main_is_first", [False, True])
def test_a_driver_that_thaws_shows_nothing_over_the_second_ones_study(main_is_first: bool) -> None:
    """Trial 0's end and trial 1's beginning are durable and not shown when the first driver freezes."""
    store, mlflow = Elsewhere(), MemoryMlflow()
    first, rest = unfinished(store)
    with Ledger.open(store, "digits") as frozen:
        frozen.append(*first[:2])
        projectors = Projectors(frozen.records, [MemoryMlflowTracker(mlflow, store)], frozen.check)
        projectors.start()
        wait_for(lambda: projectors.unsynced == 0)
        frozen.append(*first[2:])  # and nobody is notified: here it freezes

        with Ledger.open(store, "digits") as second:
            second.append(*rest)
            assert Projector(second.records, MemoryMlflowTracker(mlflow, store)).show_now("finished") == 0
        before, writes = mlflow.snapshot(), mlflow.writes

        if main_is_first:  # it thaws
            projectors.leave()
        projectors.notify()
        wait_for(lambda: projectors.unsynced == 0 or not projectors._each[0]._thread.is_alive())
        projectors.close(20.0, "suspended")
        assert (projectors.conflict is None) == main_is_first
        with pytest.raises(StateConflict, match="another driver took study 'digits' over"):
            frozen.append(rest[0])
    assert (mlflow.snapshot(), mlflow.writes) == (before, writes)
    assert mlflow.snapshot()[0]["study"]["status"] == "FINISHED"


def test_what_a_driver_shows_when_it_thaws_in_the_middle_of_it_is_mended_by_the_next_look() -> None:
    """One thing that is being shown just then cannot be called back: of two runs with one key the older stays."""
    store, mlflow = Elsewhere(), MemoryMlflow()
    first, rest = unfinished(store)
    tracker = Gated(mlflow, store)
    with Ledger.open(store, "digits") as frozen:
        frozen.append(*first[:5])
        projector = Projector(frozen.records, tracker, frozen.check)
        projector.start()
        wait_for(lambda: projector.unsynced == 0)
        tracker.go_on.clear()
        tracker.waits.clear()
        frozen.append(*first[5:])
        projector.notify()
        assert tracker.waits.wait(20)  # between its look at the study and what it shows
        with Ledger.open(store, "digits") as second:
            second.append(*rest)
            heir = Projector(second.records, MemoryMlflowTracker(mlflow, store))
            assert heir.show_now("finished") == 0
            before = mlflow.snapshot()
            tracker.go_on.set()
            wait_for(lambda: projector.conflict is not None or not projector._thread.is_alive())
            assert Projector(second.records, MemoryMlflowTracker(mlflow, store)).show_now("finished") == 0
    assert mlflow.snapshot() == before


class Freezes(MemoryMlflow):
    """One process's view of an MLflow: it freezes right before its nth write, until `go_on`."""

    def __init__(self, shared: MemoryMlflow, at: int) -> None:
        super().__init__(runs=shared.runs, models=shared.models, registered=shared.registered)
        self.go_on, self.frozen, self.at = threading.Event(), threading.Event(), at

    def _before_write(self) -> None:
        if self.writes == self.at:
            self.frozen.set()
            assert self.go_on.wait(60)


@pytest.mark.parametrize("at", range(1, 9))
def test_of_a_driver_that_thaws_one_write_at_most_comes_after_the_second_ones(at: int) -> None:
    store, mlflow = Elsewhere(), MemoryMlflow()
    first, rest = unfinished(store)
    frozen_mlflow = Freezes(mlflow, at)
    with Ledger.open(store, "digits") as frozen:
        frozen.append(*first)
        tracker = MemoryMlflowTracker(frozen_mlflow, store, frozen.check)
        projector = Projector(frozen.records, tracker, frozen.check)
        projector.start()
        assert frozen_mlflow.frozen.wait(20), "it has fewer writes"
        with Ledger.open(store, "digits") as second:
            second.append(*rest)
            assert Projector(second.records, MemoryMlflowTracker(mlflow, store)).show_now("finished") == 0
            frozen_mlflow.go_on.set()
            wait_for(lambda: projector.conflict is not None)
            assert frozen_mlflow.writes == at


def test_a_trackers_own_conflict_is_tried_again() -> None:
    """Such as that of a database which has another study of the name, until somebody renames it."""

    class Taken(MemoryTracker):
        def show(self, book: Book, trial: int | None, began: float) -> Shown:
            if self.down:
                self.calls += 1
                raise StateConflict("another study of the name")
            return super().show(book, trial, began)

        def finish(self, book: Book, outcome: Outcome) -> IntegrityError | None:
            return super().finish(book, outcome)

    store, tracker = MemoryStore(), Taken(down=True)
    projector = Projector([shown.study(store), *shown.trial(store, 0)], tracker)
    projector.start()
    wait_for(lambda: tracker.calls >= 2)
    assert (projector.conflict, projector.failure) == (None, "StateConflict: another study of the name")
    tracker.down = False
    assert projector.close(20.0, "finished") == 0


def test_a_store_that_does_not_say_who_holds_the_study_is_asked_again() -> None:
    store, tracker, answers = MemoryStore(), MemoryTracker(), threading.Event()

    def check() -> None:
        if not answers.is_set():
            raise Unreachable("the store is away")

    projector = Projector([shown.study(store), *shown.trial(store, 0, TrialState.PRUNED)], tracker, check)
    projector.start()
    wait_for(lambda: projector.failure is not None)
    assert (tracker.calls, projector.failure) == (0, "Unreachable: the store is away")
    answers.set()
    assert projector.close(20.0, "finished") == 0


def test_a_password_is_in_no_failure() -> None:
    class Talks(MemoryTracker):
        def show(self, book: Book, trial: int | None, began: float) -> Shown:
            raise ConnectionError("API request to http://me:secret@mlflow.example/api failed")

    projector = Projector([shown.study(MemoryStore())], Talks())
    assert projector.show_now("finished") == 1
    assert projector.failure == "ConnectionError: API request to http://***@mlflow.example/api failed"
