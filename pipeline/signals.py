"""Ctrl-C and SIGTERM: once suspends a search, Ctrl-C twice ends at once."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from types import FrameType

GRACE = 2.0  # seconds after SIGTERM: `ray job stop` and Kubernetes send SIGKILL some time later, Ray after 3 s


class StopRequest:
    """Catches SIGINT and SIGTERM from its making on, in the main thread.

    Args:
        say: told one line when the first signal comes.
    """

    def __init__(self, say: Callable[[str], None]) -> None:
        self._say = say
        self._signal: int | None = None
        self._at = float("inf")  # when SIGTERM came
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._caught)

    def _caught(self, number: int, _frame: FrameType | None) -> None:
        if self._signal is not None and number == signal.SIGINT:
            signal.signal(signal.SIGINT, signal.SIG_IGN)  # a third must not break off what ends the workers
            raise KeyboardInterrupt
        self._signal = number
        if number == signal.SIGTERM:
            self._at = min(self._at, time.monotonic())
        self._say("stopping: what is being trained is kept, and the same command goes on with it")

    @property
    def made(self) -> bool:
        """Whether a signal came."""
        return self._signal is not None

    @property
    def hurry(self) -> bool:
        """Whether there is no time left for what is under way."""
        return time.monotonic() > self._at + GRACE

    @property
    def exit_code(self) -> int:
        """Return 0, or 128 plus the signal's number, as shells do."""
        return 0 if self._signal is None else 128 + self._signal
