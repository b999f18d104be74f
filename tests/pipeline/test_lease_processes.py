"""A study passes from one process to the next: from a living one never, from a dead or stopped one soon."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from pipeline.lease import Lease, hold
from pipeline.store import Store, open_store
from tests.fakes.moto_server import s3_server, s3_uri
from tests.fakes.processes import BOTH, kill, line, start, uri
from trainers.errors import StateConflict

__all__ = ["s3_server", "s3_uri", "uri"]  # fixtures

NAME = "studies/digits/lease.json"
BEAT, NEVER = 0.05, 600.0  # seconds
HOLD = """
import sys, time
from pipeline.lease import hold
from pipeline.store import open_store
with hold(open_store(sys.argv[1]), "digits", beat=0.05, patience=600, say=print) as lease:
    print("held", flush=True)
    while not lease.lost:
        time.sleep(0.01)
    print("lost", flush=True)
print("ended", flush=True)
"""


@contextmanager
def holder(uri: str) -> Iterator[subprocess.Popen[str]]:
    """A process that holds the study until it is killed, or loses it."""
    process = start(HOLD, uri)
    try:
        assert line(process) == "held"
        yield process
    finally:
        kill(process)


def silence(line: str) -> None:
    pytest.fail(f"said {line!r}")


@contextmanager
def taken(store: Store, patience: float, say: Callable[[str], None]) -> Iterator[Lease]:
    """Hold the study, seen to be alive."""
    with hold(store, "digits", beat=BEAT, patience=patience, say=say) as lease:
        await_beat(store)
        yield lease


def await_beat(store: Store) -> None:
    before, deadline = store.read(NAME), time.monotonic() + 30
    while store.read(NAME) == before:
        assert time.monotonic() < deadline
        time.sleep(0.005)


@BOTH
def test_a_living_process_is_refused_to_another(uri: str) -> None:
    store = open_store(uri)
    with holder(uri) as other:
        message = f"in use by process {other.pid} on {os.uname().nodename}"
        with pytest.raises(StateConflict, match=message), hold(store, "digits", beat=2, say=silence):
            pytest.fail("it was given twice")


@BOTH
def test_a_killed_process_is_followed_at_once(uri: str) -> None:
    store = open_store(uri)
    with holder(uri) as other:
        kill(other)
        began = time.monotonic()
        with taken(store, NEVER, silence):
            assert time.monotonic() - began < 5


@BOTH
def test_a_stopped_process_is_taken_over_and_finds_that_out_when_it_goes_on(uri: str) -> None:
    store = open_store(uri)
    said: list[str] = []
    with holder(uri) as other:
        other.send_signal(signal.SIGSTOP)
        with taken(store, 0.5, said.append) as lease:
            assert [f"process {other.pid} on " in text for text in said] == [True, True]
            other.send_signal(signal.SIGCONT)
            assert line(other) == "lost"
            assert line(other) == "ended"
            assert other.wait() == 0
            await_beat(store)  # its end took nothing away
            assert not lease.lost
            # It is gone, and this driver has the study without the guard: nobody may take it for dead.
            with (
                pytest.raises(StateConflict, match=f"process {os.getpid()} on"),
                hold(store, "digits", beat=2, say=silence),
            ):
                pytest.fail("it was given twice")


@BOTH
def test_a_stopped_process_that_is_killed_is_not_waited_for_any_longer(uri: str) -> None:
    store = open_store(uri)
    with holder(uri) as other:
        other.send_signal(signal.SIGSTOP)
        said: list[str] = []

        def say(text: str) -> None:
            said.append(text)
            kill(other)

        began = time.monotonic()
        with taken(store, NEVER, say):
            assert time.monotonic() - began < 10
        assert ["waiting up to 600 s" in text for text in said] == [True]
