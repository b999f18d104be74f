"""`python -m tests.faults.drive FAULT ARGS`: the command line, in a process of its own, to which one thing happens.

FAULT is JSON: {"do": "kill" | "stop" | "clock", "at": POINT, "after": N}. The points lie around what makes a
turn of the search durable, in the order in which a driver passes them; `after` counts how often it was passed before.
"""

from __future__ import annotations

import functools
import json
import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

POINTS = ("before", "written", "named", "durable", "told", "discarded", "flushed")
"""Nothing of the object is there; its content lies under a temporary name; it has its name; the directory is synced;
a worker has been told to go on; a blob that is not needed any more is gone; a thread has written to a tracker's
database, and holds its lock until it commits."""


def set_clock_back() -> None:
    real = time.time
    time.time = lambda: real() - 3600  # type: ignore[assignment]


ACTS: dict[str, Callable[[], None]] = {
    "kill": lambda: os.kill(os.getpid(), signal.SIGKILL),
    "stop": lambda: os.kill(os.getpid(), signal.SIGSTOP),
    "clock": set_clock_back,
}


class Fault:
    """Happens once, when its point has been passed often enough."""

    def __init__(self, do: str, at: str, after: int = 0) -> None:
        if do not in ACTS or at not in POINTS:
            raise ValueError(f"a fault must do one of {[*ACTS]} at one of {POINTS}, but got {do!r} at {at!r}")
        self.do, self.at, self.left = do, at, after

    def passed(self, point: str) -> None:
        if point != self.at:
            return
        self.left -= 1
        if self.left == -1:
            ACTS[self.do]()


def before(owner: Any, name: str, told: Callable[..., None]) -> None:
    """Call `told` with the same arguments before each call of a function."""
    real = getattr(owner, name)

    @functools.wraps(real)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        told(*args)
        return real(*args, **kwargs)

    setattr(owner, name, wrapped)


def after(owner: Any, name: str, told: Callable[..., None]) -> None:
    """Call `told` with the same arguments after each call of a function that returned."""
    real = getattr(owner, name)

    @functools.wraps(real)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        result = real(*args, **kwargs)
        told(*args)
        return result

    setattr(owner, name, wrapped)


def plant(fault: Fault) -> None:
    """Wrap what a driver passes; workers are other processes, and know nothing of it."""
    from sqlalchemy import event
    from sqlalchemy.orm import Session

    from pipeline.disk_store import DiskStore
    from pipeline.ray_executor import RayExecutor

    def journal(path: object) -> bool:
        return "/journal/" in str(path)

    before(DiskStore, "create", lambda _, name, *__: journal(f"/{name}") and fault.passed("before"))
    before(os, "link", lambda _, target, *__: journal(target) and fault.passed("written"))
    after(os, "link", lambda _, target, *__: journal(target) and fault.passed("named"))
    after(DiskStore, "create", lambda _, name, *__: journal(f"/{name}") and fault.passed("durable"))
    after(RayExecutor, "start", lambda *_: fault.passed("told"))
    after(RayExecutor, "advance", lambda *_: fault.passed("told"))
    after(DiskStore, "discard", lambda *_: fault.passed("discarded"))
    event.listen(Session, "after_flush", lambda *_: fault.passed("flushed"))


if __name__ == "__main__":
    plant(Fault(**json.loads(sys.argv.pop(1))))
    sys.argv[0] = str(Path(sys.argv[0]).with_name("gansearch"))
    from pipeline.cli import main

    main()
