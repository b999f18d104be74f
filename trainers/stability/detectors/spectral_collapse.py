"""spectral_collapse: a layer of G suddenly stretches one direction."""

from __future__ import annotations

import numpy as np

from trainers.params.detectors import SpectralCollapseParams
from trainers.stability import Detector, Series, Window
from trainers.stability.events import Event
from trainers.stability.windows import edge, event, values


def make(params: SpectralCollapseParams) -> Detector:
    """Detect that a top singular value of G is `threshold` times that of a window ago (Brock et al. 2019, sec. 4.1)."""

    def detect(window: Window) -> Event | None:
        names = sorted(name for name in window.signals if name.startswith("sigma_g."))
        found = [made for name in names if (made := _seen(window, name, window.signals[name])) is not None]
        return min(found, key=lambda made: made.step, default=None)

    def _seen(window: Window, name: str, series: Series) -> Event | None:
        length = values(params, window, name)
        if len(series.values) <= length:
            return None
        now = series.values.astype(np.float64)
        before = np.concatenate((np.full(length, np.inf), now[:-length]))
        end = edge(now > params.threshold * before, series, window.after)
        if end is None:
            return None
        step, old, new = int(series.steps[end]), float(before[end]), float(now[end])
        layer = name.removeprefix("sigma_g.")
        message = f"the top singular value of G's layer {layer} went from {old:.3g} to {new:.3g} up to step {step}"
        return event(params, step, message, signal=name, before=old, now=new)

    return detect
