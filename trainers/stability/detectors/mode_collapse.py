"""mode_collapse: G draws nearly the same sample over and over."""

from __future__ import annotations

from trainers.params.detectors import ModeCollapseParams
from trainers.stability import Detector, Window
from trainers.stability.events import Event
from trainers.stability.windows import edge, event, full, values


def make(params: ModeCollapseParams) -> Detector:
    """Detect that two fakes are on average nearer than `threshold` of the distance of two real samples."""

    def detect(window: Window) -> Event | None:
        shares = window.signals["diversity"]
        length = values(params, window, "diversity")
        end = edge(full(shares.values < params.threshold, length), shares, window.after)
        if end is None:
            return None
        step, share = int(shares.steps[end]), float(shares.values[end])
        message = f"two fakes are {share:.3g} times as far apart as two real samples up to step {step}"
        return event(params, step, message, diversity=share)

    return detect
