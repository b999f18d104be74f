"""sliced_wasserstein: distance of generated samples of any kind from held-out ones, along random directions."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from trainers.data import Dataset
from trainers.evaluation import Evaluator, Metric
from trainers.registry import Params

KEY = 0x511C_ED00  # a constant: scores are compared along the same directions
DIRECTIONS = 128
CHUNK = 1_000  # samples that are in memory as float64 at a time
MOST = 50_000  # held-out samples whose projections are kept, in 51 MB

Sorted = NDArray[np.float64]


def make_sliced_wasserstein(_params: Params) -> Metric:
    """Return the metric `sliced_wasserstein`, for points and, pixel by pixel, for images.

    The mean over 128 fixed directions of the Wasserstein-1 distance of the projections (Bonneel et al. 2015, eq. 6,
    where it is of order 2). In d dimensions projections are about 1/sqrt(d) as long as what is projected: scores of
    different data sets cannot be compared. In one dimension it is the Wasserstein-1 distance itself. Of more than
    50,000 held-out samples, as many stand for all, one in every so many.
    """
    return _evaluator


def directions(dimensions: int) -> Sorted:
    """Return unit vectors, uniform on the sphere, float64 [dimensions, 128]; the same in each call."""
    draw = np.random.Generator(np.random.Philox(key=KEY))
    normal = draw.standard_normal((DIRECTIONS, dimensions)).T
    unit: Sorted = normal / np.sqrt(np.square(normal).sum(axis=0))
    return unit


def sorted_projections(samples: NDArray[Any], along: Sorted) -> Sorted:
    """Return the samples' projections on each direction in ascending order, float64 [n, k].

    Args:
        samples: [n, *shape], finite.
        along: [prod(shape), k].
    """
    # torch's product, since its threads are part of a training's configuration and NumPy's are not.
    basis = torch.from_numpy(along)
    chunks = [
        torch.from_numpy(samples[at : at + CHUNK].reshape(-1, len(along)).astype(np.float64)) @ basis
        for at in range(0, len(samples), CHUNK)
    ]
    return np.sort(torch.cat(chunks).numpy(), axis=0)


def wasserstein_1(a: Sorted, b: Sorted) -> NDArray[np.float64]:
    """Return the Wasserstein-1 distance of two samples on a line, column by column: [k].

    The integral of |F_a^-1(q) - F_b^-1(q)| over q in (0, 1) (Villani 2003, theorem 2.18), whose integrand is constant
    between multiples of 1/n and of 1/m.

    Args:
        a: [n, k], ascending.
        b: [m, k], ascending.
    """
    n, m = len(a), len(b)
    ends = np.union1d(np.arange(1, n + 1) * m, np.arange(1, m + 1) * n)  # of intervals of q, in units of 1/(n m)
    widths = np.diff(ends, prepend=0) / (n * m)
    gaps: NDArray[np.float64] = np.abs(a[(ends - 1) // m] - b[(ends - 1) // n])
    distances: NDArray[np.float64] = (widths[:, None] * gaps).sum(axis=0)
    return distances


def sliced_scores(samples: NDArray[Any], reference: Sorted, along: Sorted) -> dict[str, float]:
    """Return the mean distance of samples [n, *shape] from a reference of sorted projections; NaN if not finite."""
    if not np.isfinite(samples).all():
        return {"sliced_wasserstein": float("nan")}
    return {"sliced_wasserstein": float(wasserstein_1(sorted_projections(samples, along), reference).mean())}


def _evaluator(dataset: Dataset, _extractor: bytes | None) -> Evaluator:
    along = directions(int(np.prod(dataset.shape)))
    every = -(-len(dataset.held_out) // MOST)
    reference = sorted_projections(dataset.held_out[::every], along)
    score = partial(sliced_scores, reference=reference, along=along)
    return Evaluator(metric="sliced_wasserstein", shape=dataset.shape, score=score, perfect=0.0)
