"""vanishing_generator_gradient: D tells nearly all samples, and G learns nothing from it."""

from __future__ import annotations

import numpy as np

from trainers.params.detectors import VanishingGeneratorGradientParams
from trainers.stability import Detector, Window
from trainers.stability.events import Event
from trainers.stability.windows import edge, event, full, values

CONFIDENT = 0.95  # accuracy of D, on average: G's gradient is small at an equilibrium, too


def make(params: VanishingGeneratorGradientParams) -> Detector:
    """Detect that G's gradient norm stays below `threshold` while D is right (Arjovsky and Bottou 2017, thm. 2.4)."""

    def detect(window: Window) -> Event | None:
        norms, accuracy = window.signals["grad_norm_g"], window.signals["accuracy_d"]
        length = values(params, window, "grad_norm_g")
        sure = np.interp(norms.steps, accuracy.steps, accuracy.values)
        end = edge(full((norms.values < params.threshold) & (sure >= CONFIDENT), length), norms, window.after)
        if end is None:
            return None
        part, step = slice(end - length + 1, end + 1), int(norms.steps[end])
        most, right = float(norms.values[part].max()), float(sure[part].mean())
        message = f"G's gradient norm was at most {most:.3g} for {length} updates up to step {step}, and D right"
        return event(params, step, message, grad_norm_g_max=most, accuracy_d=right)

    return detect
