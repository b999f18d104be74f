"""What detectors are made of: runs, edges and events."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from trainers.params.detectors import DetectorParams
from trainers.stability import Series, Window
from trainers.stability.events import Event

EVALUATIONS = 4  # in a window at least, however far apart: fewer are bad, or fall, by chance
Bools = npt.NDArray[np.bool_]
Floats = npt.NDArray[np.float64]


def values(params: DetectorParams, window: Window, name: str) -> int:
    """Return how many values of a signal a detector's window holds, at least 1."""
    return max(1, params.window // window.every.get(name, 1))


def full(bad: Bools, length: int) -> Bools:
    """Return, at each place, whether `bad` has been true `length` times in a row up to there."""
    found = np.zeros(len(bad), dtype=np.bool_)
    if len(bad) >= length:
        total = np.concatenate(([0], np.cumsum(bad)))
        found[length - 1 :] = total[length:] - total[:-length] == length
    return found


def edge(bad: Bools, series: Series, after: int) -> int | None:
    """Return the first place later than step `after` at which something becomes true that was not so right before.

    What goes on being true is reported once.
    """
    begins = bad & ~np.concatenate((np.zeros(1, dtype=np.bool_), bad[:-1]))
    places = np.flatnonzero(begins & (series.steps > after))
    return int(places[0]) if len(places) else None


def rolling(series: Series, length: int) -> Floats:
    """Return the windows of `length` values, float64 [n - length + 1, length]; of none where there are fewer."""
    if len(series.values) < length:
        return np.empty((0, length))
    return np.lib.stride_tricks.sliding_window_view(series.values.astype(np.float64), length)


def at_ends(of_windows: npt.NDArray[np.bool_], series: Series) -> Bools:
    """Return what is known of windows at the places where they end; False where none does."""
    missing = len(series.values) - len(of_windows)
    return np.concatenate((np.zeros(missing, dtype=np.bool_), of_windows))


def event(
    params: DetectorParams, step: int, message: str, severity: float | None = None, **evidence: float | str
) -> Event:
    """Return a detector's event; its evidence is `evidence` with the detector's threshold and window."""
    told = {key: number(value) if isinstance(value, float) else value for key, value in evidence.items()}
    return Event(
        kind=params.name,
        step=step,
        severity=params.severity if severity is None else severity,
        action="stop" if params.action == "stop" else "warn",
        evidence={**told, "threshold": params.threshold, "window": float(params.window)},
        message=message,
    )


def number(value: float) -> float | str:
    """Return a number that JSON can hold, or its name."""
    return value if math.isfinite(value) else str(value)
