"""Detectors of a user's own whose code fails at step 60, as often as FAULT_FOLDER has room for; see `marks`."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from torch import OutOfMemoryError

from trainers.config import DetectorParams
from trainers.registry import Variant
from trainers.stability import Detector, Window
from trainers.stability.events import Event

STEP, TIMES = 60, 2


def marks(folder: Path) -> list[Path]:
    """Return the files that say how often it failed so far, each with the id of the process; making them all mends."""
    return [folder / f"failed-{number}" for number in range(TIMES)]


def _make(error: Callable[[], Exception]) -> Callable[[DetectorParams], Detector]:
    def make(_params: DetectorParams) -> Detector:
        def detect(window: Window) -> Event | None:
            if int(window.signals["d_loss"].steps[-1]) == STEP and _takes(Path(os.environ["FAULT_FOLDER"])):
                raise error()
            return None

        return detect

    return make


def _takes(folder: Path) -> bool:
    for mark in marks(folder):
        try:
            with mark.open("x") as file:
                file.write(str(os.getpid()))
        except FileExistsError:
            continue
        return True
    return False


def _variant(name: str, error: Callable[[], Exception]) -> Variant:
    name = f"{__name__}:{name}"
    return Variant(kind="detector", name=name, summary="fails", params=DetectorParams, make=_make(error))


RAISES = _variant("RAISES", lambda: ZeroDivisionError("the window is empty"))
STARVES = _variant("STARVES", lambda: OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB"))
