"""Actors that share a memory store, one call at a time: whoever plays the scheduler says whose call is next."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Semaphore, Thread
from typing import Any, Literal

from tests.fakes.memory_store import MemoryStore
from trainers.errors import Unreachable

Fate = Literal["goes on", "dies", "is refused", "loses the answer"]
_PAGE = 2  # names in one answer of a listing


class DiedError(BaseException):
    """The process of an actor is gone."""


class OnceStore(MemoryStore):
    """Refuses a name that was made and removed before, unless it means the same again."""

    def __init__(self) -> None:
        super().__init__()
        self._ever: dict[str, bytes] = {}

    def create(self, name: str, data: bytes) -> None:
        super().create(name, data)
        assert self._ever.setdefault(name, data) == data, f"{name} means two things"


class Actor:
    """A store as one process sees it, and that process, which waits before each of its calls until it is stepped."""

    uri = "memory://"

    def __init__(self, memory: MemoryStore, work: Callable[[Any], None]) -> None:
        self.done = False
        self.calls: list[str] = []
        self._memory, self._work = memory, work
        self._fate: Fate = "goes on"
        self._dead = False
        self._error: BaseException | None = None
        self._mine, self._back = Semaphore(0), Semaphore(0)
        self._thread = Thread(target=self._live, daemon=True)
        self._thread.start()

    def until(self, call: str) -> None:
        """Step until it waits for a call, such as "create studies/digits/lease.json"."""
        while not self.calls or self.calls[-1] != call:
            self.step()
            assert not self.done, f"it ended without {call}: {self.calls}"

    def finish(self) -> None:
        """Step until it has ended."""
        while not self.done:
            self.step()

    def step(self, fate: Fate = "goes on") -> None:
        """Let the call for which it waits happen, and return when it waits for the next one or has ended."""
        if self.done:
            return
        self._fate = fate
        self._mine.release()
        assert self._back.acquire(timeout=60), "the actor waits for something else than its turn"
        if self.done:
            self._thread.join()
        if self._error is not None:
            raise self._error

    def _live(self) -> None:
        self._mine.acquire()
        try:
            self._work(self)
        except DiedError:
            pass
        except BaseException as error:
            self._error = error
        finally:
            self.done = True
            self._back.release()

    def _call(self, operation: str, *given: Any) -> Any:
        if self._dead:
            raise DiedError
        self.calls.append(f"{operation} {given[0]}" if isinstance(given[0], str) else operation)
        self._back.release()
        self._mine.acquire()
        fate, self._fate = self._fate, "goes on"
        if fate == "dies":
            self._dead = True
            raise DiedError
        if fate == "is refused":
            raise Unreachable("no way there")
        answer = getattr(self._memory, operation)(*given)
        if fate == "loses the answer":
            raise Unreachable("no way back")
        return answer

    def create(self, name: str, data: bytes) -> None:
        self._call("create", name, data)

    def replace(self, name: str, data: bytes) -> None:
        self._call("replace", name, data)

    def remove(self, name: str) -> None:
        self._call("remove", name)

    def read(self, name: str) -> bytes:
        return self._call("read", name)

    def names(self, prefix: str) -> list[str]:
        found: list[str] = []
        while page := [name for name in self._call("names", prefix) if not found or name > found[-1]][:_PAGE]:
            found += page
        return found

    def put(self, data: bytes) -> str:
        return self._call("put", data)

    def get(self, digest: str) -> bytes:
        return self._call("get", digest)

    def discard(self, digest: str) -> None:
        self._call("discard", digest)

    @contextmanager
    def guard(self, name: str) -> Iterator[bool]:
        """As if all others were dead, which they are not: what is safe then is safe whatever a lease believes."""
        yield True
