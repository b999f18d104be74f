"""mode_dropping: a part of the data is out of G's reach."""

from __future__ import annotations

import numpy as np

from trainers.params.detectors import ModeDroppingParams
from trainers.stability import Detector, Window
from trainers.stability.events import Event
from trainers.stability.windows import edge, event, full, values


def make(params: ModeDroppingParams) -> Detector:
    """Detect that fakes cover less than `threshold` of the held-out part (Naeem et al. 2020, eq. 4).

    The evidence holds what D says, too: the share of real samples of which it thinks better than of 95 % of the fakes.
    """

    def detect(window: Window) -> Event | None:
        coverage = window.signals["coverage"]
        length = values(params, window, "coverage")
        end = edge(full(coverage.values < params.threshold, length), coverage, window.after)
        if end is None:
            return None
        step, share = int(coverage.steps[end]), float(coverage.values[end])
        told: dict[str, float] = {}
        if (beyond := window.signals.get("real_beyond")) is not None:
            told = {"real_beyond": float(np.interp(step, beyond.steps, beyond.values))}
        message = f"fakes cover {share:.1%} of the held-out part up to step {step}"
        return event(params, step, message, coverage=share, **told)

    return detect
