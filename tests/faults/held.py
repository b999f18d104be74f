"""A small search whose trials wait in the middle of a segment, and what can be asked of one."""

from __future__ import annotations

import signal
import subprocess
from pathlib import Path

from pipeline.book import Book
from tests.command_line import TIMEOUT, wait_for
from tests.faults import variants
from tests.place import Place

SEGMENT = 30  # steps


class Held(Place):
    """A place whose trials wait in a segment, with those before it committed, until `go_on` is called.

    Args:
        folder: is there; the process that trains knows it as FAULT_FOLDER.
        step: the last one of the segment in which they wait.
        options, store, env: see Place.
    """

    def __init__(
        self, folder: Path, *options: str, store: str = "store", step: int = variants.STEP, **env: str
    ) -> None:
        ours = {"FAULT_FOLDER": str(folder), "FAULT_STEP": str(step)}
        super().__init__(folder, store, (*variant("HOLDS"), *options), **ours, **env)
        self._committed = step // SEGMENT - 1

    def waits(self, trials: int) -> bool:
        """Whether so many trials have a checkpoint to go on from, and train their next segment or wait in it."""
        done = steps(self.book) if self.segments() == trials * self._committed else {}
        return [*done.values()] == [SEGMENT * self._committed] * trials

    def go_on(self) -> None:
        variants.gate(self.folder).touch()

    def suspend(self, driver: subprocess.Popen[str], number: int = signal.SIGINT) -> int:
        """Ask a driver to stop while its trials wait, let these go on, and return its exit code."""
        driver.send_signal(number)
        wait_for(lambda: "stopping" in self.talk(), driver)
        self.go_on()
        return driver.wait(TIMEOUT)


def losses(book: Book) -> list[str]:
    return [loss.cause for trial in book.trials.values() for loss in trial.losses]


def steps(book: Book) -> dict[int, int]:
    return {number: trial.steps for number, trial in book.trials.items()}


def variant(name: str) -> tuple[str, str]:
    """Return the option that gives a search one of the detectors of tests/faults/variants.py."""
    return "--set", f"stability.tests.faults.variants:{name}.action=stop"
