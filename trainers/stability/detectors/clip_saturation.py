"""clip_saturation: nearly all of D's weights lie at the clip."""

from __future__ import annotations

from trainers.params.detectors import ClipSaturationParams
from trainers.stability import Detector, Window
from trainers.stability.events import Event
from trainers.stability.windows import edge, event, full, values


def make(params: ClipSaturationParams) -> Detector:
    """Detect that more than `threshold` of D's weights are at the clip (Gulrajani et al. 2017, section 3, fig. 1b).

    What D can say is then a matter of signs alone, a small part of the functions with its Lipschitz constant.
    """

    def detect(window: Window) -> Event | None:
        shares = window.signals["clip_share"]
        length = values(params, window, "clip_share")
        end = edge(full(shares.values > params.threshold, length), shares, window.after)
        if end is None:
            return None
        step, share = int(shares.steps[end]), float(shares.values[end])
        message = f"{share:.1%} of D's weights are at the clip up to step {step}"
        return event(params, step, message, clip_share=share)

    return detect
