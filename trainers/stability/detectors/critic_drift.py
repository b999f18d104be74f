"""critic_drift: D's output wanders off, by orders of magnitude."""

from __future__ import annotations

import numpy as np

from trainers.params.detectors import CriticDriftParams
from trainers.stability import Detector, Window
from trainers.stability.events import Event
from trainers.stability.windows import edge, event, full, values


def make(params: CriticDriftParams) -> Detector:
    """Detect that D's mean output stays above `threshold` in size (the drift of Karras et al. 2018, appendix A.1)."""

    def detect(window: Window) -> Event | None:
        found = [made for name in ("logit_real", "logit_fake") if (made := _seen(window, name)) is not None]
        return min(found, key=lambda made: made.step, default=None)

    def _seen(window: Window, name: str) -> Event | None:
        logits = window.signals[name]
        length = values(params, window, name)
        end = edge(full(np.abs(logits.values) > params.threshold, length), logits, window.after)
        if end is None:
            return None
        step, value = int(logits.steps[end]), float(logits.values[end])
        message = (
            f"{name} was above {params.threshold:g} in size for {length} updates, and is {value:.3g} at step {step}"
        )
        return event(params, step, message, signal=name, value=value)

    return detect
