"""d_loss_zero: the discriminator has won, and teaches nothing."""

from __future__ import annotations

import numpy as np

from trainers.params.detectors import DLossZeroParams
from trainers.stability import Detector, Window
from trainers.stability.events import Event
from trainers.stability.windows import Bools, edge, event, full, values

MOVES = 2  # of G, before D's loss says something of both


def make(params: DLossZeroParams) -> Detector:
    """Detect that D's loss stays within `threshold` of the least value that it can have (ganhacks, item 10).

    A run counts where G moved at least twice in it: alone, as in a warm-up of the critic, D is to win. A critic's loss
    has no floor, and near 0 it means the opposite.
    """

    def detect(window: Window) -> Event | None:
        losses, floor = window.signals.get("d_loss"), window.constants.d_floor
        if losses is None or floor is None:
            return None
        length = max(values(params, window, "d_loss"), MOVES * window.every.get("g_loss", 1))
        won = full(losses.values - floor < params.threshold, length) & _moved(window, length)
        end = edge(won, losses, window.after)
        if end is None:
            return None
        seen = losses.values[end - length + 1 : end + 1].astype(np.float64)
        worst, step = float(seen.max()), int(losses.steps[end])
        message = f"D loss was at most {worst:.3g} for {length} updates up to step {step}: D has won"
        return event(params, step, message, d_loss_max=worst, d_loss_mean=float(seen.mean()))

    return detect


def _moved(window: Window, length: int) -> Bools:
    """Return whether G moved often enough in the last `length` steps before each; yes where it is not told."""
    steps = window.signals["d_loss"].steps
    if "g_loss" not in window.every:
        return np.ones(len(steps), dtype=np.bool_)
    moves = window.signals["g_loss"].steps if "g_loss" in window.signals else steps[:0]
    since = np.searchsorted(moves, steps, "right") - np.searchsorted(moves, steps - length, "right")
    found: Bools = since >= MOVES
    return found
