"""Detectors: pure functions of a window of signals."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from trainers.params.detectors import DetectorParams, DLossZeroParams, ExplodingGradientParams, NonFiniteParams
from trainers.stability import Detector, Series, Window
from trainers.stability.events import Event

MOVES = 2  # of G, before D's loss says something of both


def first_run(
    bad: npt.NDArray[np.bool_],
    length: int,
    steps: npt.NDArray[np.int64],
    after: int,
    counts: npt.NDArray[np.bool_] | None = None,
) -> int | None:
    """Return the index at which `bad` has been true `length` times in a row, first at a step later than `after`.

    Args:
        bad: of each step.
        length: of a run, at least 1.
        steps: ascending.
        after: those up to it have been looked at.
        counts: where a run may end; None lets it end anywhere.
    """
    if len(bad) < length:
        return None
    total = np.concatenate(([0], np.cumsum(bad)))
    full = total[length:] - total[:-length] == length
    ends = np.flatnonzero(full) + length - 1
    ends = ends[(steps[ends] > after) & (True if counts is None else counts[ends])]
    return int(ends[0]) if len(ends) else None


def _updates(params: DetectorParams, window: Window, name: str) -> int:
    return max(1, params.window // window.every.get(name, 1))


def _event(params: DetectorParams, step: int, severity: float, message: str, **evidence: float | str) -> Event:
    told = {"threshold": params.threshold, "window": float(params.window)}
    return Event(
        kind=params.name,
        step=step,
        severity=severity,
        action="stop" if params.action == "stop" else "warn",
        evidence={**evidence, **told},
        message=message,
    )


def _moved(window: Window, steps: npt.NDArray[np.int64], length: int) -> npt.NDArray[np.bool_] | None:
    """Return whether G moved often enough in the last `length` steps before each step; None where it is not told."""
    if "g_loss" not in window.every:
        return None
    moves = window.signals["g_loss"].steps if "g_loss" in window.signals else steps[:0]
    since = np.searchsorted(moves, steps, "right") - np.searchsorted(moves, steps - length, "right")
    return since >= MOVES


def make_d_loss_zero(params: DLossZeroParams) -> Detector:
    """Detect that D's loss stays within `threshold` of the least value that it can have (ganhacks, item 10).

    A run counts where G moved at least twice in it: alone, as in a warm-up of the critic, D is to win.
    """

    def detect(window: Window) -> Event | None:
        losses = window.signals.get("d_loss")
        if losses is None or window.d_floor is None:
            return None  # a critic's loss has no floor: near 0 it means the opposite
        bad = losses.values - window.d_floor < params.threshold
        length = max(_updates(params, window, "d_loss"), MOVES * window.every.get("g_loss", 1))
        end = first_run(bad, length, losses.steps, window.after, _moved(window, losses.steps, length))
        if end is None:
            return None
        seen = losses.values[end - length + 1 : end + 1].astype(np.float64)
        worst = float(seen.max())
        step = int(losses.steps[end])
        message = f"D loss was at most {worst:.3g} for {length} updates up to step {step}: D has won"
        numbers = {"d_loss_max": _number(worst), "d_loss_mean": _number(float(seen.mean()))}
        return _event(params, step, 0.5, message, **numbers)

    return detect


def make_exploding_gradient(params: ExplodingGradientParams) -> Detector:
    """Detect that a player's gradient norm stays above `threshold` (ganhacks, item 10: above 100)."""

    def detect(window: Window) -> Event | None:
        found = [event for name in ("grad_norm_d", "grad_norm_g") if (event := _exploding(window, name)) is not None]
        return min(found, key=lambda event: event.step, default=None)

    def _exploding(window: Window, name: str) -> Event | None:
        norms = window.signals.get(name)
        if norms is None:
            return None
        length = _updates(params, window, name)
        end = first_run(norms.values > params.threshold, length, norms.steps, window.after)
        if end is None:
            return None
        seen = norms.values[end - length + 1 : end + 1].astype(np.float64)
        median, step = float(np.median(seen)), int(norms.steps[end])
        severity = min(1.0, 0.5 + 0.1 * math.log10(median / params.threshold)) if math.isfinite(median) else 1.0
        message = f"{name} was above {params.threshold:g} for {length} updates up to step {step} (median {median:.3g})"
        return _event(params, step, severity, message, signal=name, norm_median=_number(median))

    return detect


def make_non_finite(params: NonFiniteParams) -> Detector:
    """Detect NaN and infinities in any signal."""

    def detect(window: Window) -> Event | None:
        found = [event for name, s in window.signals.items() if (event := _non_finite(window, name, s)) is not None]
        return min(found, key=lambda event: event.step, default=None)

    def _non_finite(window: Window, name: str, series: Series) -> Event | None:
        bad = ~np.isfinite(series.values)
        counts = np.convolve(bad, np.ones(_updates(params, window, name)))[: len(bad)]
        hits = np.flatnonzero((counts > params.threshold) & (series.steps > window.after))
        if not len(hits):
            return None
        at = int(np.flatnonzero(bad[: hits[0] + 1])[-1])
        step, value = int(series.steps[hits[0]]), float(series.values[at])
        message = f"{name} became {value} at step {int(series.steps[at])}"
        return _event(params, step, 1.0, message, signal=name, value=_number(value))

    return detect


def _number(value: float) -> float | str:
    """Return a number that JSON can hold, or its name."""
    return value if math.isfinite(value) else str(value)
