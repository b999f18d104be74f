"""vanishing_generator_gradient: D tells nearly all samples, and G learns nothing from it."""

from __future__ import annotations

import numpy as np

from trainers.params.detectors import VanishingGeneratorGradientParams
from trainers.stability import Detector, Series, Window
from trainers.stability.events import Event
from trainers.stability.windows import at_ends, edge, event, rolling, values

CONFIDENT = 0.95  # accuracy of D, on average: G's gradient is small at an equilibrium, too


def make(params: VanishingGeneratorGradientParams) -> Detector:
    """Detect that G's median gradient norm is below `threshold` while D is right (Arjovsky and Bottou 2017, thm. 2.4).

    G's gradients then come from the few fakes that D has yet to tell.
    """

    def detect(window: Window) -> Event | None:
        norms, accuracy = window.signals["grad_norm_g"], window.signals["accuracy_d"]
        length = values(params, window, "grad_norm_g")
        right = np.interp(norms.steps, accuracy.steps, accuracy.values).astype(np.float32)
        median = np.median(rolling(norms, length), axis=1)
        sure = rolling(Series(steps=norms.steps, values=right), length).mean(axis=1)
        end = edge(at_ends((median < params.threshold) & (sure >= CONFIDENT), norms), norms, window.after)
        if end is None:
            return None
        place, step = end - len(norms.values), int(norms.steps[end])
        message = f"G's gradient norm had a median of {median[place]:.3g} up to step {step}, while D told all samples"
        return event(params, step, message, grad_norm_g=float(median[place]), accuracy_d=float(sure[place]))

    return detect
