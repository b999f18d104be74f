"""energy_distance: distance of generated samples of any kind from held-out ones, without directions or features."""

from __future__ import annotations

from functools import partial

import numpy as np
from numpy.typing import NDArray

from trainers.data import Dataset
from trainers.evaluation import Evaluator, Metric
from trainers.evaluation.discrepancy import energy_distance
from trainers.registry import Params

MOST = 2_000  # held-out rows that are compared with: as many squared distances a score


def make_energy_distance(_params: Params) -> Metric:
    """Return the metric `energy_distance`, for points and, pixel by pixel, for images.

    Source: Szekely and Rizzo 2013, eq. 2.1. It is without bias: around 0 for the truth, and as often below it as above.
    Of more than 2,000 held-out samples, as many stand for all, one in every so many.
    """
    return _evaluator


def energy_scores(samples: NDArray[np.float32], reference: NDArray[np.float32]) -> dict[str, float]:
    """Return the distance of samples [n, *shape] from a reference [m, *shape]; NaN if not finite."""
    if not np.isfinite(samples).all():
        return {"energy_distance": float("nan")}
    return {"energy_distance": energy_distance(samples, reference)}


def _evaluator(dataset: Dataset, _extractor: bytes | None) -> Evaluator:
    every = -(-len(dataset.held_out) // MOST)
    score = partial(energy_scores, reference=dataset.held_out[::every])
    return Evaluator(metric="energy_distance", shape=dataset.shape, score=score, perfect=0.0)
