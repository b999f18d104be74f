"""mode_collapse: G draws nearly the same sample over and over."""

from __future__ import annotations

from trainers.params.detectors import ModeCollapseParams
from trainers.stability import Detector, Window
from trainers.stability.events import Event
from trainers.stability.windows import at_ends, edge, event, full, rolling, values

GROWTH = 1.1  # from one half of the window to the other: less is the noise of its batches


def make(params: ModeCollapseParams) -> Detector:
    """Detect that two fakes are on average nearer than `threshold` of the distance of two real samples.

    A generator that begins with nearly one sample, and draws more and more apart, is no collapse: the second half of
    the window must not lie above the first one.
    """

    def detect(window: Window) -> Event | None:
        shares = window.signals["diversity"]
        length = values(params, window, "diversity")
        seen = rolling(shares, length)
        first, second = seen[:, : (length + 1) // 2].mean(axis=1), seen[:, length // 2 :].mean(axis=1)
        flat = at_ends(second <= GROWTH * first, shares)
        end = edge(full(shares.values < params.threshold, length) & flat, shares, window.after)
        if end is None:
            return None
        step, share = int(shares.steps[end]), float(shares.values[end])
        message = f"two fakes are {share:.3g} times as far apart as two real samples up to step {step}"
        return event(params, step, message, diversity=share)

    return detect
