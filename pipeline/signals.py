"""Ctrl-C and SIGTERM: once suspends a search, Ctrl-C twice ends at once, though not in the middle of a write."""

from __future__ import annotations

import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType

GRACE = 2.0  # seconds after SIGTERM: `ray job stop` and Kubernetes send SIGKILL some time later, Ray after 3 s
HURRY = 1.0  # seconds that MLflow is given after SIGTERM


class StopRequest:
    """Catches SIGINT and SIGTERM from its making on, in the main thread.

    A second SIGINT raises KeyboardInterrupt, which breaks off whatever blocks, such as the start of Ray; within
    `uninterrupted` it makes `hurry` true instead, and is raised at the end of that.

    Args:
        say: told one line when the first signal comes.
    """

    def __init__(self, say: Callable[[str], None]) -> None:
        self._say = say
        self._signal: int | None = None
        self._at = float("inf")  # when SIGTERM came
        self._twice = False
        self._held = 0  # how many `uninterrupted` are under way
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._caught)

    def _caught(self, number: int, _frame: FrameType | None) -> None:
        if self._signal is not None and number == signal.SIGINT:
            signal.signal(signal.SIGINT, signal.SIG_IGN)  # a third must not break off what ends the workers
            self._signal, self._twice = number, True
            if not self._held:
                raise KeyboardInterrupt
            return
        self._signal = number
        if number == signal.SIGTERM:
            self._at = min(self._at, time.monotonic())
        # Python refuses a write in the middle of another one; whatever is under way here must not be broken off.
        with suppress(OSError, RuntimeError):
            self._say("stopping: what is being trained is kept, and the same command goes on with it")

    @contextmanager
    def uninterrupted(self) -> Iterator[None]:
        """Keep a second Ctrl-C from raising while this lasts, for what must not end in its middle and looks at `hurry`.

        Raises:
            KeyboardInterrupt: at the end, where one came; no other error that is on its way is replaced by it.
        """
        self._held += 1
        try:
            yield
        finally:
            self._held -= 1
        if self._twice and not self._held and sys.exception() is None:  # that of a `finally` around it counts too
            raise KeyboardInterrupt

    @property
    def made(self) -> bool:
        """Whether a signal came."""
        return self._signal is not None

    @property
    def hurry(self) -> bool:
        """Whether there is no time left for what is under way."""
        return self._twice or time.monotonic() > self._at + GRACE

    @property
    def patience(self) -> float:
        """Return the seconds that are left for what can be made up for later: none after Ctrl-C twice."""
        if self._twice:
            return 0.0
        return HURRY if self._at < float("inf") else float("inf")

    @property
    def exit_code(self) -> int:
        """Return 0, or 128 plus the signal's number, as shells do."""
        return 0 if self._signal is None else 128 + self._signal
