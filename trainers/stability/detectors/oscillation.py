"""oscillation: the players chase each other round in a circle, or out of it, instead of meeting."""

from __future__ import annotations

import numpy as np

from trainers.params.detectors import OscillationParams
from trainers.stability import Detector, Window
from trainers.stability.events import Event
from trainers.stability.windows import Floats, event, values

PERIODS = 3  # that a window must hold
LEAST = 1e-3  # standard deviation, over the size of D's output where that is above 1
LASTING = 0.5  # of the amplitude in the window's first half is left in its second: else it is dying out
GROWING = 1.0  # times that amplitude: on a spiral outwards each turn takes longer, and nothing repeats itself
SMOOTH = 0.95  # autocorrelation from one step to the next: a swing of D, and not the noise of its batches
NEAR = 0.95  # of the highest peak
SHORTEST = 8  # steps a period: faster is noise


def make(params: OscillationParams) -> Detector:
    """Detect lasting swings of D(x) - D(G(z)) (Mescheder et al. 2018: what unregularised GANs do at a fixed point).

    In a circle, that difference's autocorrelation, its trend taken away, has a peak above `threshold` at a lag of which
    three fit into the window, and its amplitude does not die out; on a spiral it swings three times, wider and wider.
    """

    def detect(window: Window) -> Event | None:
        real, fake = window.signals["logit_real"], window.signals["logit_fake"]
        steps, at_real, at_fake = np.intersect1d(real.steps, fake.steps, return_indices=True)
        gap = real.values[at_real].astype(np.float64) - fake.values[at_fake]
        size = np.maximum(np.abs(real.values[at_real]), np.abs(fake.values[at_fake]))
        length = values(params, window, "logit_real")
        was = False
        for end in range(length, len(steps) + 1):
            step, part = int(steps[end - 1]), slice(end - length, end)
            if step % params.hop:
                continue
            told = _swings(gap[part], max(1.0, float(np.median(size[part]))), params.threshold)
            if told and not was and step > window.after:
                how = (
                    "swings wider and wider" if "growth" in told else f"repeats itself every {told['period']:.0f} steps"
                )
                return event(params, step, f"D(x) - D(G(z)) {how}, in the {length} up to step {step}", **told)
            was = bool(told)
        return None

    return detect


def _swings(gap: Floats, size: float, threshold: float) -> dict[str, float]:
    """Return what shows that a difference swings, or nothing."""
    if not np.isfinite(gap).all():
        return {}
    n = len(gap)
    time = np.arange(n) - (n - 1) / 2
    rest = gap - gap.mean()
    rest -= time * (rest @ time) / (time @ time)
    first, second = rest[: n // 2].std(), rest[n // 2 :].std()
    if rest.std() < LEAST * size or second < LASTING * first:
        return {}
    power = np.abs(np.fft.rfft(rest, 2 * n)) ** 2
    correlation = np.fft.irfft(power)[:n] / np.arange(n, 0, -1)
    correlation /= correlation[0]
    peak, lag = _peak(correlation)
    if peak > threshold:
        return {"period": float(lag), "autocorrelation": peak}
    turns = np.count_nonzero(np.diff(np.signbit(rest))) / 2
    if second >= GROWING * first and turns >= PERIODS and correlation[1] > SMOOTH:
        return {"turns": turns, "growth": float(second / first)}
    return {}


def _peak(correlation: Floats) -> tuple[float, int]:
    """Return the height of the first peak after the autocorrelation was negative, and its lag; 0 where none counts."""
    negative = np.flatnonzero(correlation < 0)
    first = max(SHORTEST, int(negative[0])) if len(negative) else len(correlation)
    last = len(correlation) // PERIODS
    if first >= last:
        return 0.0, 0
    part = correlation[first : last + 1]
    lag = first + int(np.argmax(part >= NEAR * part.max()))  # not one of its multiples, which are as high
    return float(correlation[lag]), lag
