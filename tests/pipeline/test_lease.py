"""A study is held by one driver at a time, and a lease that stands still is taken over."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from threading import Event, Thread

import pytest

from pipeline.lease import hold
from pipeline.store import Store
from tests.fakes.memory_store import MemoryStore
from trainers.errors import StateConflict, Unreachable

NAME = "studies/digits/lease.json"
BEAT, NEVER = 0.05, 600.0  # seconds


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore()


def lease_in(store: Store) -> dict[str, object]:
    return dict(json.loads(store.read(NAME)))


def elsewhere(beat: int, nonce: str = "theirs") -> bytes:
    return json.dumps({"host": "far", "machine": "0" * 12, "pid": 7, "nonce": nonce, "beat": beat}).encode()


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def beats_again(store: Store) -> bool:
    before = lease_in(store)["beat"]
    until(lambda: lease_in(store)["beat"] != before)
    return True


def silence(line: str) -> None:
    pytest.fail(f"said {line!r}")


def test_a_free_study_is_held_shown_and_given_back(store: MemoryStore) -> None:
    for _ in range(2):
        with hold(store, "digits", beat=BEAT, patience=NEVER, say=silence) as lease:
            assert lease_in(store)["pid"] == os.getpid()
            assert beats_again(store)
            assert not lease.lost
        assert store.objects == {}


def test_a_living_holder_is_named_to_the_next_one(store: MemoryStore) -> None:
    with hold(store, "digits", beat=BEAT, patience=NEVER, say=silence) as lease:
        message = (
            f"study 'digits' is in use by process {os.getpid()} on {os.uname().nodename}; wait for its end, or stop"
        )
        with pytest.raises(StateConflict, match=message), hold(store, "digits", beat=2, say=silence):
            pytest.fail("it was given twice")
        with hold(store, "mnist", beat=BEAT, say=silence):
            pass
        assert beats_again(store)
        assert not lease.lost


def test_an_error_inside_gives_the_study_back_and_goes_on(store: MemoryStore) -> None:
    with pytest.raises(ZeroDivisionError), hold(store, "digits", beat=BEAT, say=silence):
        raise ZeroDivisionError
    assert store.objects == {}


def test_a_living_driver_on_another_host_is_waited_for_no_longer_than_a_beat(store: MemoryStore) -> None:
    store.replace(NAME, elsewhere(1))
    ended = Event()

    def live() -> None:
        beat = 1
        while not ended.wait(BEAT):
            store.replace(NAME, elsewhere(beat := beat + 1))

    other = Thread(target=live)
    other.start()
    try:
        with pytest.raises(StateConflict, match="process 7 on far"), hold(store, "digits", beat=2, say=silence):
            pytest.fail("it was given twice")
    finally:
        ended.set()
        other.join()


@pytest.mark.parametrize(("left", "who"), [(elsewhere(5), "process 7 on far"), (b"not ours", "another process")])
def test_a_lease_that_stands_still_is_taken_over(store: MemoryStore, left: bytes, who: str) -> None:
    store.replace(NAME, left)
    said: list[str] = []
    began = time.monotonic()
    with hold(store, "digits", beat=BEAT, patience=0.5, say=said.append):
        assert 0.5 < time.monotonic() - began < 5
        assert lease_in(store)["pid"] == os.getpid()
        assert beats_again(store)
    assert said == [
        f"waiting up to 0.5 s for a sign of life of {who}, which holds study 'digits'",
        f"{who} has given no sign of life for 0.5 s; study 'digits' is taken over",
    ]


def test_whoever_sees_another_drivers_lease_stops_its_own(store: MemoryStore) -> None:
    with hold(store, "digits", beat=BEAT, say=silence) as lease:
        store.replace(NAME, elsewhere(1))
        until(lambda: lease.lost)
    assert store.objects == {NAME: elsewhere(1)}  # neither written over nor removed


def test_a_beat_that_comes_late_from_the_one_before_is_written_over(store: MemoryStore) -> None:
    store.replace(NAME, elsewhere(1))
    with hold(store, "digits", beat=BEAT, patience=0.1, say=lambda _: None) as lease:
        store.replace(NAME, elsewhere(2))  # it was stopped between reading and writing
        until(lambda: lease_in(store)["nonce"] != "theirs")
        assert not lease.lost
        store.replace(NAME, elsewhere(1, "of a third one"))
        until(lambda: lease.lost)


def test_a_lease_that_somebody_removed_is_written_again(store: MemoryStore) -> None:
    with hold(store, "digits", beat=BEAT, say=silence) as lease:
        store.remove(NAME)
        until(lambda: NAME in store.objects)
        assert not lease.lost


class Moody(MemoryStore):
    """A store that is out of reach for a while; `tries` counts what was asked of it in that time."""

    def __init__(self) -> None:
        super().__init__()
        self.away = False
        self.tries = 0

    def read(self, name: str) -> bytes:
        self._answer()
        return super().read(name)

    def replace(self, name: str, data: bytes) -> None:
        self._answer()
        super().replace(name, data)

    def _answer(self) -> None:
        if self.away:
            self.tries += 1
            raise Unreachable("the store is away")


def test_a_store_out_of_reach_ends_no_lease() -> None:
    store = Moody()
    with hold(store, "digits", beat=BEAT, say=silence) as lease:
        store.away = True
        until(lambda: store.tries >= 3)
        store.away = False
        assert beats_again(store)
        assert not lease.lost


def test_a_store_out_of_reach_at_the_end_hides_no_error() -> None:
    store = Moody()

    def fail() -> None:
        store.away = True
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError), hold(store, "digits", beat=BEAT, say=silence):
        fail()


def test_a_driver_that_has_the_guard_and_no_lease_yet_is_given_a_beat(store: MemoryStore) -> None:
    with store.guard("digits"):
        began = time.monotonic()
        with hold(store, "digits", beat=0.2, patience=NEVER, say=silence):
            assert time.monotonic() - began > 0.2
    opened = Event()

    def start() -> None:
        with store.guard("digits"):
            opened.set()
            until(lambda: waiting)
            store.replace(NAME, elsewhere(1))
            until(lambda: done)

    waiting = done = False
    other = Thread(target=start)
    other.start()
    assert opened.wait(30)
    waiting = True
    with pytest.raises(StateConflict, match="process 7"), hold(store, "digits", beat=5, patience=NEVER, say=silence):
        pytest.fail("it was given")
    done = True
    other.join()
