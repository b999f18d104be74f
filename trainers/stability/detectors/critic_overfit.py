"""critic_overfit: D tells its training data by heart."""

from __future__ import annotations

import numpy as np

from trainers.params.detectors import CriticOverfitParams
from trainers.stability import Detector, Window
from trainers.stability.events import Event
from trainers.stability.windows import at_ends, edge, event, rolling, values

ERRORS = 3.0  # standard errors by which the two must differ: near an equilibrium both are noise


def make(params: CriticOverfitParams) -> Detector:
    """Detect (gap on train - gap on held-out) / gap on train above `threshold` (Karras 2020, ADA, eq. 1, r_v).

    A gap is D's mean on data less that on fakes: a critic's Wasserstein estimate, of which the one on held-out data
    falls behind as the critic overfits (Gulrajani et al. 2017, section 5.6).
    """

    def detect(window: Window) -> Event | None:
        train, held_out = window.signals["gap_train"], window.signals["gap_held_out"]
        length = values(params, window, "gap_train")
        one, two = rolling(train, length), rolling(held_out, length)
        if not len(one) or one.shape != two.shape:
            return None
        with np.errstate(invalid="ignore", divide="ignore"):
            apart, error = (one - two).mean(axis=1), (one - two).std(axis=1) / np.sqrt(length)
            gap = one.mean(axis=1)
            share = apart / np.abs(gap)
            bad = (gap > 0) & (share > params.threshold) & (apart > ERRORS * error)
        end = edge(at_ends(bad, train), train, window.after)
        if end is None:
            return None
        place, step = end - len(train.values), int(train.steps[end])
        message = (
            f"{share[place]:.0%} of D's advantage on its training data is not there on held-out data at step {step}"
        )
        numbers = {"gap_train": float(gap[place]), "gap_held_out": float(two.mean(axis=1)[place])}
        return event(params, step, message, share=float(share[place]), **numbers)

    return detect
