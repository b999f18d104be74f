"""memorisation: G draws what it was trained on."""

from __future__ import annotations

from trainers.params.detectors import MemorisationParams
from trainers.stability import Detector, Window
from trainers.stability.events import Event
from trainers.stability.windows import edge, event, full, values


def make(params: MemorisationParams) -> Detector:
    """Detect fakes that are much nearer to the training part than new data are (after Bai et al. 2021, MiFID)."""

    def detect(window: Window) -> Event | None:
        ratios = window.signals["memorisation"]
        length = values(params, window, "memorisation")
        end = edge(full(ratios.values < params.threshold, length), ratios, window.after)
        if end is None:
            return None
        step, ratio = int(ratios.steps[end]), float(ratios.values[end])
        message = f"fakes are {ratio:.3g} times as far from the training part as held-out data at step {step}"
        return event(params, step, message, memorisation=ratio)

    return detect
