"""generator_fooling: G gets the better of a D that knows nothing."""

from __future__ import annotations

import numpy as np

from trainers.params.detectors import GeneratorFoolingParams
from trainers.stability import Detector, Window
from trainers.stability.events import Event
from trainers.stability.windows import EVALUATIONS, edge, event, full, values

EVEN = 0.5  # the accuracy of a D that cannot tell


def make(params: GeneratorFoolingParams) -> Detector:
    """Detect that G's loss falls at each evaluation while D is wrong and samples are no nearer by a share `threshold`.

    Source: ganhacks, item 10: a loss of G that falls steadily means that it fools D with garbage.
    """

    def detect(window: Window) -> Event | None:
        loss, right, far = (window.signals[name] for name in ("segment_g_loss", "segment_accuracy_d", "energy"))
        if not len(loss.steps) == len(right.steps) == len(far.steps):
            return None
        length = max(EVALUATIONS, values(params, window, "energy"))
        falls = full(np.diff(loss.values, prepend=np.nan) < 0, length - 1)
        wrong = full(right.values < EVEN, length)
        before = np.concatenate((np.full(length - 1, np.inf), far.values))[: len(far.values)]
        flat = far.values >= (1 - params.threshold) * before
        end = edge(falls & wrong & flat, far, window.after)
        if end is None:
            return None
        step, first = int(far.steps[end]), end - length + 1
        numbers = {"g_loss_before": float(loss.values[first]), "g_loss": float(loss.values[end])}
        told = {"energy_before": float(far.values[first]), "energy": float(far.values[end])}
        message = f"G's loss fell over {length} evaluations up to step {step}, and its samples are no better"
        return event(params, step, message, accuracy_d=float(right.values[end]), **numbers, **told)

    return detect
