"""A study held by one driver: a lease whose counter moves while its holder lives, taken over where it stands still.

The lease is politeness and speed: it refuses a second driver early, and lets a dead one's study go at once. What two
drivers may write is settled by the ledger's epochs alone, so a lease may be wrong for a moment without harm.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from threading import Event, Thread
from uuid import uuid4

from pydantic import ValidationError

from pipeline.machine import machine
from pipeline.store_port import MissingObject, Store
from trainers.errors import StateConflict, Unreachable
from trainers.registry import Part

_LAST_BEAT = 5.0  # seconds that the end waits for a beat which is under way: after the end, it would leave a lease


class _Holder(Part):
    """What the object holds."""

    host: str
    machine: str  # that whose guard the holder has (see pipeline.machine), or empty where it has none
    pid: int
    nonce: str  # one a lease: a process may hold several, one after the other
    beat: int  # moves while the holder lives


class Lease:
    """A study that this process holds; get it with `hold`."""

    def __init__(self, store: Store, study: str, before: _Holder | None, *, guarded: bool) -> None:
        self._store, self._name, self._before = store, _name(study), before
        where = machine() if guarded else ""
        self._mine = _Holder(host=socket.gethostname(), machine=where, pid=os.getpid(), nonce=uuid4().hex, beat=0)
        self._lost, self._ended = Event(), Event()
        self.show()

    @property
    def lost(self) -> bool:
        """Whether another driver was seen to hold the study; whose it is, the ledger's epochs say."""
        return self._lost.is_set()

    def show(self) -> None:
        """Write the lease with a counter that is one higher."""
        self._mine = self._mine.model_copy(update={"beat": self._mine.beat + 1})
        self._store.replace(self._name, self._mine.model_dump_json().encode())

    def beat(self, every: float) -> None:
        """Show every `every` seconds that the holder lives, until `end`, or until another driver took the study."""
        while not self._ended.wait(every):
            with suppress(Unreachable):  # the next beat is the retry; a long silence ends in a takeover
                if self._others():
                    self._lost.set()
                    return
                self.show()

    def end(self) -> None:
        """Stop the beats."""
        self._ended.set()

    def give_back(self) -> None:
        """Remove the lease, unless it is another driver's by now."""
        with suppress(Unreachable):  # then it stands still, and is taken over in time
            if not self.lost and not self._others():
                self._store.remove(self._name)

    def _others(self) -> bool:
        """Whether another driver holds the study.

        Not so where the lease is missing, or its text is that of the driver which this one took over from: that may
        have been stopped in the middle of a beat, which then came late.
        """
        text = _read(self._store, self._name)
        nonces = {self._mine.nonce} | ({self._before.nonce} if self._before is not None else set())
        holder = _holder(text)
        return text != b"" and (holder is None or holder.nonce not in nonces)


@contextmanager
def hold(
    store: Store, study: str, *, beat: float = 3.0, patience: float = 30.0, say: Callable[[str], None]
) -> Iterator[Lease]:
    """Hold a study exclusively while the context lasts; it is free at once where this machine's holder died.

    Args:
        store: where the study lies.
        study: its name, checked by the caller.
        beat: seconds between two signs of life.
        patience: seconds, by this process's own clock, after which a lease that stands still is taken over.
        say: takes a line for the user.

    Raises:
        StateConflict: a living driver holds it.
        Unreachable: the store cannot be read or written.
    """
    with ExitStack() as stack:
        before, guarded = _wait(store, study, stack, beat, patience, say)
        lease = Lease(store, study, before, guarded=guarded)
        beats = Thread(target=lease.beat, args=(beat,), name=f"lease of {study}", daemon=True)
        beats.start()
        try:
            yield lease
        finally:
            lease.end()
            beats.join(_LAST_BEAT)
            if not beats.is_alive():  # else the store is out of reach, and the lease is left to stand still
                lease.give_back()


def _wait(
    store: Store, study: str, stack: ExitStack, beat: float, patience: float, say: Callable[[str], None]
) -> tuple[_Holder | None, bool]:
    """Return when the study may be taken: from whom, and whether its guard was got, which `stack` then has."""
    seen, since = None, time.monotonic()
    guarded = said = False
    while True:
        guarded = guarded or _try_guard(store, study, stack)
        text = _read(store, _name(study))
        holder = _holder(text)
        if guarded and (not text or (holder is not None and holder.machine == machine())):
            return holder, True  # nobody's, or that of a process which would have the guard if it lived
        if text != seen:
            if text and seen is not None:
                raise StateConflict(f"study {study!r} is in use by {_who(holder)}; wait for its end, or stop it")
            seen, since = text, time.monotonic()
        stands = time.monotonic() - since
        if not text and stands > beat:
            return None, False  # a beat was left to the guard's holder, who was about to begin, or to end
        if stands > patience:
            say(f"{_who(holder)} has given no sign of life for {patience:g} s; study {study!r} is taken over")
            return holder, guarded
        if text and stands > beat and not said:
            said = True
            say(f"waiting up to {patience:g} s for a sign of life of {_who(holder)}, which holds study {study!r}")
        time.sleep(min(beat, patience) / 4)


def _name(study: str) -> str:
    return f"studies/{study}/lease.json"


def _try_guard(store: Store, study: str, stack: ExitStack) -> bool:
    with ExitStack() as attempt:
        got = attempt.enter_context(store.guard(study))
        if got:
            stack.push(attempt.pop_all())
    return got


def _read(store: Store, name: str) -> bytes:
    try:
        return store.read(name)
    except MissingObject:
        return b""


def _holder(text: bytes) -> _Holder | None:
    try:
        return _Holder.model_validate_json(text)
    except ValidationError:  # missing, or not written by us: it is waited for like any other
        return None


def _who(holder: _Holder | None) -> str:
    return f"process {holder.pid} on {holder.host}" if holder is not None else "another process"
