"""How good samples are, and how much of the data they cover, by neighbourhoods in feature space."""

from __future__ import annotations

from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor

from trainers.evaluation.pairs import blocks, nearest, rows_of

K_PRECISION = 3  # Kynkaanniemi et al. 2019, section 3
K_DENSITY = 5  # Naeem et al. 2020, section 3.3


def precision_recall(samples: NDArray[Any], others: NDArray[Any], k: int = K_PRECISION) -> dict[str, float]:
    """Return shares of each kind that lie in a neighbourhood of the other (Kynkaanniemi et al. 2019, eq. 1 and 2).

    Args:
        samples: generated, [n, d] with n > k, finite.
        others: real, [m, d] with m > k, finite.
        k: a row's neighbourhood reaches to its k-th nearest of its own kind.

    Returns:
        precision: share of the samples in a neighbourhood of a real one. recall: share of the real ones in a
            neighbourhood of a sample. Both grow with n and m, and are below 1 for the truth.
    """
    x, y = rows_of(samples, others)
    return {
        "precision": _inside(x, y, nearest(y, y, k, itself=True)),
        "recall": _inside(y, x, nearest(x, x, k, itself=True)),
    }


def density_coverage(samples: NDArray[Any], others: NDArray[Any], k: int = K_DENSITY) -> dict[str, float]:
    """Return density and coverage (Naeem et al. 2020, eq. 4 and 5).

    Args:
        samples: generated, [n, d] with n >= 2, finite.
        others: real, [m, d] with m > k, finite.
        k: a real row's neighbourhood reaches to its k-th nearest real one.

    Returns:
        density: mean number of real neighbourhoods that a sample lies in, over k: about 1 for the truth, more where
            samples crowd. coverage: share of the real rows with a sample in their neighbourhood; for the truth and
            n = m about 1 - 2^-k (there, lemma 2).
    """
    x, y = rows_of(samples, others)
    radius = nearest(y, y, k, itself=True)
    counts, seen = 0, torch.zeros(len(y), dtype=torch.bool)
    for _, found in blocks(x, y):
        inside = found <= radius
        counts += int(inside.sum())
        seen |= inside.any(dim=0)
    return {"density": counts / (k * len(x)), "coverage": float(seen.double().mean())}


def _inside(a: Tensor, b: Tensor, radius: Tensor) -> float:
    """Return the share of the rows of `a` that lie within its radius of a row of `b`."""
    return sum(int((found <= radius).any(dim=1).sum()) for _, found in blocks(a, b)) / len(a)
