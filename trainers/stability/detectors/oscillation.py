"""oscillation: the players chase each other round in a circle instead of meeting."""

from __future__ import annotations

import numpy as np

from trainers.params.detectors import OscillationParams
from trainers.stability import Detector, Window
from trainers.stability.events import Event
from trainers.stability.windows import Floats, event, values

LOOKS = 4  # a window
PERIODS = 3.0  # that a window must hold
LEAST = 1e-3  # standard deviation, over the size of D's output where that is above 1
LASTING = 0.5  # of the amplitude in the window's first half is left in its second: else it is dying out
SHORTEST = 8  # steps a period: faster is noise


def make(params: OscillationParams) -> Detector:
    """Detect a lasting period in D(x) - D(G(z)) (Mescheder et al. 2018: what unregularised GANs do at a fixed point).

    That difference's autocorrelation, its trend taken away, has a peak above `threshold` at a lag of which three fit
    into the window, and its amplitude does not die out.
    """

    def detect(window: Window) -> Event | None:
        real, fake = window.signals["logit_real"], window.signals["logit_fake"]
        steps, at_real, at_fake = np.intersect1d(real.steps, fake.steps, return_indices=True)
        gap = real.values[at_real].astype(np.float64) - fake.values[at_fake]
        size = np.maximum(np.abs(real.values[at_real]), np.abs(fake.values[at_fake]))
        length = values(params, window, "logit_real")
        hop = max(1, length // LOOKS)
        was = False
        for end in range(length, len(steps) + 1):
            if steps[end - 1] % hop:
                continue
            part = slice(end - length, end)
            peak, lag = _peak(gap[part], max(1.0, float(np.median(size[part]))))
            now = peak > params.threshold
            if now and not was and steps[end - 1] > window.after:
                step = int(steps[end - 1])
                message = f"D(x) - D(G(z)) repeats itself every {lag} updates in the {length} up to step {step}"
                return event(params, step, message, period=float(lag), autocorrelation=peak)
            was = now
        return None

    return detect


def _peak(values: Floats, size: float) -> tuple[float, int]:
    """Return the height of the autocorrelation's first peak after it was negative, and its lag; 0 where none counts."""
    if not np.isfinite(values).all():
        return 0.0, 0
    n = len(values)
    time = np.arange(n) - (n - 1) / 2
    rest = values - values.mean()
    rest -= time * (rest @ time) / (time @ time)
    halves = rest[: n // 2].std(), rest[n // 2 :].std()
    if rest.std() < LEAST * size or halves[1] < LASTING * halves[0]:
        return 0.0, 0
    power = np.abs(np.fft.rfft(rest, 2 * n)) ** 2
    correlation = np.fft.irfft(power)[:n] / np.arange(n, 0, -1)
    correlation /= correlation[0]
    negative = np.flatnonzero(correlation < 0)
    first = max(SHORTEST, int(negative[0])) if len(negative) else n
    last = int(n / PERIODS)
    if first >= last:
        return 0.0, 0
    lag = first + int(np.argmax(correlation[first : last + 1]))
    return float(correlation[lag]), lag
