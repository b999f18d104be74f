"""A small search whose trials wait in the middle of their second segment, and what can be asked of one."""

from __future__ import annotations

from pathlib import Path

import psutil

from pipeline.book import Book
from tests.command_line import descendants
from tests.faults import variants
from tests.place import Place

SEGMENT = 30  # steps


class Held(Place):
    """A place whose trials wait, each with one segment committed, until `go_on` is called.

    Args:
        folder: is there; the process that trains knows it as FAULT_FOLDER.
        options, store, env: see Place.
    """

    def __init__(self, folder: Path, *options: str, store: str = "store", **env: str) -> None:
        super().__init__(folder, store, (*variant("HOLDS"), *options), FAULT_FOLDER=str(folder), **env)

    def waits(self, trials: int) -> bool:
        """Whether so many trials have a checkpoint to go on from, and train their second segment or wait in it."""
        done = steps(self.book) if self.segments() == trials else {}
        return [*done.values()] == [SEGMENT] * trials

    def go_on(self) -> None:
        variants.gate(self.folder).touch()


def trainers(pid: int) -> list[psutil.Process]:
    """Those of a process's descendants that train now; Ray names a worker's process after the call that it answers."""
    return [child for child in descendants(pid) if is_training(child)]


def is_training(process: psutil.Process) -> bool:
    try:
        return process.cmdline()[:1] in (["ray::Actor.start"], ["ray::Actor.advance"])
    except psutil.NoSuchProcess:
        return False


def losses(book: Book) -> list[str]:
    return [loss.cause for trial in book.trials.values() for loss in trial.losses]


def steps(book: Book) -> dict[int, int]:
    return {number: trial.steps for number, trial in book.trials.items()}


def variant(name: str) -> tuple[str, str]:
    """Return the option that gives a search one of the detectors of tests/faults/variants.py."""
    return "--set", f"stability.tests.faults.variants:{name}.action=stop"
