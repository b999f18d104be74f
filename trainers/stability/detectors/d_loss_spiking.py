"""d_loss_spiking: D's loss jumps, where that of a working training falls slowly."""

from __future__ import annotations

import numpy as np

from trainers.params.detectors import DLossSpikingParams
from trainers.stability import Detector, Series, Window
from trainers.stability.events import Event
from trainers.stability.windows import edge, event, rolling, values

FAR = 10.0  # deviations above the window's median, and at least as much as that again
TO_STD = 1.4826  # of a normal distribution's median absolute deviation


def make(params: DLossSpikingParams) -> Detector:
    """Detect that more than a share `threshold` of D's losses lie far above their window's median (ganhacks, 10)."""

    def detect(window: Window) -> Event | None:
        losses = window.signals["d_loss"]
        length = values(params, window, "d_loss")
        ends = losses.steps[length - 1 :]
        looked = (ends % params.hop == 0) & (ends > window.after - params.hop)
        seen = rolling(losses, length)[looked]
        if not len(seen):
            return None
        with np.errstate(invalid="ignore"):
            median = np.median(seen, axis=1, keepdims=True)
            far = FAR * TO_STD * np.median(np.abs(seen - median), axis=1, keepdims=True)
            spikes = seen - median > np.maximum(far, np.abs(median))
            shares = spikes[:, length // 2 :].mean(axis=1)  # those of the beginning die out
        found = Series(steps=ends[looked], values=shares.astype(np.float32))
        end = edge(shares > params.threshold, found, window.after)
        if end is None:
            return None
        step, share = int(found.steps[end]), float(shares[end])
        message = f"{share:.1%} of D's losses in the second half of {length} updates up to step {step} are spikes"
        return event(params, step, message, share=share, d_loss_median=float(median[end, 0]))

    return detect
