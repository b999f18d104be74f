"""Detectors of a user's own, asked once a segment is trained: they fail, as often as FAULT_FOLDER has room, or wait.

So a test can meet a training in the middle of a segment, however fast the machine is.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

from torch import OutOfMemoryError

from trainers.params.detectors import DetectorParams
from trainers.registry import Variant
from trainers.stability import Detector, Window
from trainers.stability.events import Event

STEP, TIMES = 60, 2  # where FAULT_STEP says no other step, the second segment of a small search waits
PATIENCE = 300.0  # seconds


def marks(folder: Path) -> list[Path]:
    """Return the files that say how often it failed so far, each with the id of the process; making them all mends."""
    return [folder / f"failed-{number}" for number in range(TIMES)]


def gate(folder: Path) -> Path:
    """Return the file for which trainings with HOLDS wait."""
    return folder / "go-on"


def ticket(folder: Path, number: int) -> Path:
    """Return a file that lets one training with PACED go on with one segment, which takes the file away."""
    return folder / f"ticket-{number}"


def tickets(folder: Path) -> list[Path]:
    """Return the tickets that nobody has taken."""
    return list(folder.glob("ticket-*"))


def _variant(name: str, act: Callable[[Path], None], at: Callable[[int], bool] = lambda step: step == STEP) -> Variant:
    def make(_params: DetectorParams) -> Detector:
        def detect(window: Window) -> Event | None:
            if at(int(window.signals["d_loss"].steps[-1])):
                act(Path(os.environ["FAULT_FOLDER"]))
            return None

        return detect

    return Variant(kind="detector", name=f"{__name__}:{name}", summary="acts", params=DetectorParams, make=make)


def _raising(error: Callable[[], Exception]) -> Callable[[Path], None]:
    def act(folder: Path) -> None:
        if _takes(folder):
            raise error()

    return act


def _takes(folder: Path) -> bool:
    for mark in marks(folder):
        try:
            with mark.open("x") as file:
                file.write(str(os.getpid()))
        except FileExistsError:
            continue
        return True
    return False


def _hold(folder: Path, may_go_on: Callable[[Path], bool] = lambda folder: gate(folder).exists()) -> None:
    deadline = time.monotonic() + PATIENCE
    while not may_go_on(folder):
        if time.monotonic() > deadline:
            raise TimeoutError(f"{gate(folder)} was not made within {PATIENCE:g} s")
        time.sleep(0.02)


def _pace(folder: Path) -> None:
    _hold(folder, lambda folder: gate(folder).exists() or any(map(_taken, tickets(folder))))


def _taken(ticket: Path) -> bool:
    try:
        ticket.unlink()
    except FileNotFoundError:  # another worker was faster
        return False
    return True


def _chosen(step: int) -> bool:
    return step == int(os.environ.get("FAULT_STEP", STEP))


RAISES = _variant("RAISES", _raising(lambda: ZeroDivisionError("the window is empty")))
STARVES = _variant("STARVES", _raising(lambda: OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB")))
HOLDS = _variant("HOLDS", _hold, _chosen)
PACED = _variant("PACED", _pace, lambda _: True)
