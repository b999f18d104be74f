"""Seconds, and syncs of files, of something that is done again and again."""

from __future__ import annotations

import os
import stat
import statistics
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from threading import get_ident


@dataclass
class Cost:
    """What was seen of one thing that was done again and again."""

    seconds: list[float] = field(default_factory=list)
    syncs: int = 0
    synced: int = 0  # bytes

    @contextmanager
    def measure(self) -> Iterator[None]:
        """Count one time more: the seconds, and the files and folders that this thread syncs from Python meanwhile."""
        real, mine = os.fsync, get_ident()

        def fsync(descriptor: int) -> None:
            real(descriptor)
            if get_ident() == mine:  # not the lease, which beats beside us
                status = os.fstat(descriptor)
                self.syncs += 1
                self.synced += status.st_size if stat.S_ISREG(status.st_mode) else 0

        os.fsync = fsync  # type: ignore[assignment]
        began = time.perf_counter()
        try:
            yield
        finally:
            self.seconds.append(time.perf_counter() - began)
            os.fsync = real

    @property
    def median(self) -> float:
        """Seconds."""
        return statistics.median(self.seconds)

    def row(self, name: str) -> str:
        """Return the row of a table."""
        low, high = (f"{1000 * seconds:.2f}" for seconds in (min(self.seconds), max(self.seconds)))
        times = len(self.seconds)
        told = f"{1000 * self.median:.2f} | {low} to {high} | {self.syncs / times:.1f} | {self.synced / times:,.0f}"
        return f"| {name} | {times} | {told} |"
