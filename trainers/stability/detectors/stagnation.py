"""stagnation: nothing has been learned, or it has been lost again."""

from __future__ import annotations

import numpy as np

from trainers.params.detectors import StagnationParams
from trainers.stability import Detector, Window
from trainers.stability.events import Event
from trainers.stability.windows import EVALUATIONS, edge, event, full, values


def make(params: StagnationParams) -> Detector:
    """Detect that the score stays above `threshold` times the untrained generator's, and is not falling.

    It falls where at the window's end it is below `threshold` times that at its beginning: a slow start. All scores are
    counted from that of a perfect generator.
    """

    def detect(window: Window) -> Event | None:
        scores, untrained, perfect = window.signals["score"], window.constants.untrained, window.constants.perfect
        if untrained is None or perfect is None:
            return None
        length = max(EVALUATIONS, values(params, window, "score"))
        above = scores.values - perfect
        bad = full(above > params.threshold * (untrained - perfect), length)
        before = np.concatenate((np.full(length - 1, np.inf), above))[: len(above)]
        end = edge(bad & (above > params.threshold * before), scores, window.after)
        if end is None:
            return None
        step, best = int(scores.steps[end]), float(scores.values[end - length + 1 : end + 1].min())
        message = (
            f"the score is at best {best:.3g} in the {length} evaluations up to step {step}; untrained it was "
            f"{untrained:.3g}"
        )
        return event(params, step, message, best=best, untrained=untrained)

    return detect
