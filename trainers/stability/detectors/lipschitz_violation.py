"""lipschitz_violation: a gradient penalty does not hold D's gradient where it should."""

from __future__ import annotations

import numpy as np

from trainers.params.detectors import LipschitzViolationParams
from trainers.stability import Detector, Window
from trainers.stability.events import Event
from trainers.stability.windows import at_ends, edge, event, rolling, values


def make(params: LipschitzViolationParams) -> Detector:
    """Detect that the mean gradient norm at interpolates is on average `threshold` from its target.

    Source: Gulrajani et al. 2017, section 3: an optimal critic has norm 1 nearly everywhere between the two
    distributions.
    """

    def detect(window: Window) -> Event | None:
        norms, target = window.signals["interpolate_norm"], window.constants.target
        if target is None:
            return None
        length = values(params, window, "interpolate_norm")
        median = np.median(rolling(norms, length), axis=1)
        end = edge(at_ends(np.abs(median - target) > params.threshold, norms), norms, window.after)
        if end is None:
            return None
        step, norm = int(norms.steps[end]), float(median[end - len(norms.values)])
        message = f"D's gradient norm at interpolates is {norm:.3g} where {target:g} is wanted, up to step {step}"
        return event(params, step, message, interpolate_norm=norm, target=target)

    return detect
