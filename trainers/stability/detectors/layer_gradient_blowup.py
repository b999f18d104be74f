"""layer_gradient_blowup: gradients explode or vanish on their way through a deep network."""

from __future__ import annotations

import numpy as np

from trainers.params.detectors import LayerGradientBlowupParams
from trainers.stability import Detector, Window
from trainers.stability.events import Event
from trainers.stability.windows import at_ends, edge, event, rolling, values


def make(params: LayerGradientBlowupParams) -> Detector:
    """Detect a median slope of log10 |gradient| over depth of more than `threshold` decades from first to last layer.

    Source: Gulrajani et al. 2017, figure 1b: with weight clipping the norms of successive layers grow or decay
    exponentially.
    """

    def detect(window: Window) -> Event | None:
        found = [made for player in ("d", "g") if (made := _seen(window, player)) is not None]
        return min(found, key=lambda made: made.step, default=None)

    def _seen(window: Window, player: str) -> Event | None:
        name = f"grad_slope_{player}"
        slopes = window.signals.get(name)
        if slopes is None:
            return None
        depth = sum(key.startswith(f"grad_norm_{player}.") for key in window.signals) - 1
        length = values(params, window, name)
        median = np.median(rolling(slopes, length), axis=1)
        with np.errstate(invalid="ignore"):
            end = edge(at_ends(np.abs(median) * depth > params.threshold, slopes), slopes, window.after)
        if end is None:
            return None
        step, slope = int(slopes.steps[end]), float(median[end - len(slopes.values)])
        grow = "vanish" if slope > 0 else "explode"
        message = f"{player.upper()}'s gradients {grow} on their way down: {slope:+.2g} decades a layer at step {step}"
        return event(params, step, message, signal=name, slope=slope, layers=float(depth + 1))

    return detect
