"""mode_dropping: a part of the data is out of G's reach."""

from __future__ import annotations

import numpy as np

from trainers.params.detectors import ModeDroppingParams
from trainers.stability import Detector, Window
from trainers.stability.events import Event
from trainers.stability.windows import edge, event, full, values


def make(params: ModeDroppingParams) -> Detector:
    """Detect that bins with more than `threshold` of the held-out part have all but no fakes (Richardson 2018).

    The evidence holds what D says, too: the share of real samples of which it thinks better than of 95 % of the fakes.
    """

    def detect(window: Window) -> Event | None:
        dropped = window.signals["dropped"]
        length = values(params, window, "dropped")
        end = edge(full(dropped.values > params.threshold, length), dropped, window.after)
        if end is None:
            return None
        step, share = int(dropped.steps[end]), float(dropped.values[end])
        told: dict[str, float] = {}
        if (beyond := window.signals.get("real_beyond")) is not None:
            told = {"real_beyond": float(np.interp(step, beyond.steps, beyond.values))}
        message = f"{share:.0%} of the held-out data lie where all but no fakes are, up to step {step}"
        return event(params, step, message, dropped=share, **told)

    return detect
