"""non_finite: a signal is NaN or infinite."""

from __future__ import annotations

import numpy as np

from trainers.params.detectors import NonFiniteParams
from trainers.stability import Detector, Series, Window
from trainers.stability.events import Event
from trainers.stability.windows import edge, event, values


def make(params: NonFiniteParams) -> Detector:
    """Detect NaN and infinities in any signal."""

    def detect(window: Window) -> Event | None:
        found = [made for name, series in window.signals.items() if (made := _seen(window, name, series)) is not None]
        return min(found, key=lambda made: made.step, default=None)

    def _seen(window: Window, name: str, series: Series) -> Event | None:
        bad = ~np.isfinite(series.values)
        if not bad.any():
            return None
        counts = np.convolve(bad, np.ones(values(params, window, name)))[: len(bad)]
        end = edge(counts > params.threshold, series, window.after)
        if end is None:
            return None
        at = int(np.flatnonzero(bad[: end + 1])[-1])
        step, value = int(series.steps[end]), float(series.values[at])
        message = f"{name} became {value} at step {int(series.steps[at])}"
        return event(params, step, message, signal=name, value=value)

    return detect
