"""Bins of the data that have too few, or too many, of the samples."""

from __future__ import annotations

from statistics import NormalDist
from typing import Any

import numpy as np
from numpy.typing import NDArray

BINS = 100  # Richardson and Weiss 2018, section 2
SIGNIFICANT = 0.05


def ndb(
    samples: NDArray[Any], train: NDArray[Any], *, bins: int = BINS, seed: int, level: float = SIGNIFICANT
) -> dict[str, float]:
    """Return the number of statistically different bins (Richardson and Weiss 2018, section 2).

    The bins are the cells of k-means on the training data; each has its two-proportion z-test with pooled variance.

    Args:
        samples: generated, [n, d], finite.
        train: [m, d] with m >= bins, finite.
        bins: number of cells.
        seed: of k-means.
        level: of each test: for the truth a share of about `level` of the bins differs.

    Returns:
        ndb: share of the bins that differ, in [0, 1]. bins_js: Jensen-Shannon divergence of the two histograms, nats.

    Raises:
        ValueError: rows are not finite, or fewer than bins.
    """
    from sklearn.cluster import KMeans

    made, real = (np.asarray(rows, dtype=np.float64).reshape(len(rows), -1) for rows in (samples, train))
    if not (np.isfinite(made).all() and np.isfinite(real).all()) or len(real) < bins or not len(made):
        raise ValueError(f"ndb needs finite samples, and {bins} training rows, but got {len(made)} and {len(real)}")
    cells = KMeans(bins, n_init=1, random_state=seed).fit(real)
    p, q = (np.bincount(cells.predict(rows), minlength=bins) / len(rows) for rows in (real, made))
    pooled = (p * len(real) + q * len(made)) / (len(real) + len(made))
    error = np.sqrt(pooled * (1 - pooled) * (1 / len(real) + 1 / len(made)))
    differ = np.abs(p - q) > NormalDist().inv_cdf(1 - level / 2) * error
    return {"ndb": float(differ.mean()), "bins_js": _js(p, q)}


def _js(p: NDArray[np.float64], q: NDArray[np.float64]) -> float:
    middle = (p + q) / 2

    def kl(of: NDArray[np.float64]) -> float:
        seen = of > 0
        return float((of[seen] * np.log(of[seen] / middle[seen])).sum())

    return (kl(p) + kl(q)) / 2
