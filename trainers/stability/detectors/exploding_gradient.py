"""exploding_gradient: a player's gradient norm stays above 100."""

from __future__ import annotations

import math

import numpy as np

from trainers.params.detectors import ExplodingGradientParams
from trainers.stability import Detector, Window
from trainers.stability.events import Event
from trainers.stability.windows import edge, event, full, values


def make(params: ExplodingGradientParams) -> Detector:
    """Detect that a player's gradient norm stays above `threshold` (ganhacks, item 10: above 100)."""

    def detect(window: Window) -> Event | None:
        found = [made for name in ("grad_norm_d", "grad_norm_g") if (made := _seen(window, name)) is not None]
        return min(found, key=lambda made: made.step, default=None)

    def _seen(window: Window, name: str) -> Event | None:
        norms = window.signals.get(name)
        if norms is None:
            return None
        length = values(params, window, name)
        end = edge(full(norms.values > params.threshold, length), norms, window.after)
        if end is None:
            return None
        seen = norms.values[end - length + 1 : end + 1].astype(np.float64)
        median, step = float(np.median(seen)), int(norms.steps[end])
        severity = min(1.0, 0.5 + 0.1 * math.log10(median / params.threshold)) if math.isfinite(median) else 1.0
        message = f"{name} was above {params.threshold:g} for {length} updates up to step {step} (median {median:.3g})"
        return event(params, step, message, severity, signal=name, norm_median=median)

    return detect
