"""Frechet distance between the Gaussians that are fitted to two arrays of features; float64, pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class Gaussian:
    """A fitted Gaussian.

    Attributes:
        mean: float64 [d].
        root: float64 [d, d], the symmetric square root of the covariance.
        trace: of the covariance.
    """

    mean: Tensor
    root: Tensor
    trace: float


def fit(features: NDArray[Any]) -> Gaussian:
    """Return the Gaussian with the features' mean and unbiased covariance, which may be singular.

    Args:
        features: [n, d] with n >= 2, finite.

    Raises:
        ValueError: there are fewer than two rows, or one is not finite.
    """
    if features.ndim != 2 or len(features) < 2 or not np.isfinite(features).all():  # noqa: PLR2004 - rows, columns
        raise ValueError(f"features must be finite and [n >= 2, d], but got {list(features.shape)}")
    # torch's linear algebra, since its threads are part of a training's configuration and NumPy's are not.
    x = torch.tensor(features, dtype=torch.float64)
    mean = x.mean(dim=0)
    centred = x - mean
    covariance = centred.T @ centred / (len(x) - 1)
    values, vectors = torch.linalg.eigh(covariance)
    root = (vectors * values.clamp(min=0).sqrt()) @ vectors.T
    return Gaussian(mean=mean, root=root, trace=float(covariance.trace()))


def distance(a: Gaussian, b: Gaussian) -> float:
    """Return |mean_a - mean_b|^2 + tr(S_a + S_b - 2 (S_a^1/2 S_b S_a^1/2)^1/2) (Dowson and Landau 1982, eq. 16).

    The trace of that root is the sum of the singular values of S_a^1/2 S_b^1/2, which needs no root of a product: the
    rounding errors of singular covariances stay at 1e-16 of their size instead of its square root.

    Returns:
        The squared Wasserstein-2 distance of the Gaussians, never negative.
    """
    shift = (a.mean - b.mean).square().sum()
    overlap = torch.linalg.svdvals(a.root @ b.root).sum()
    return max(0.0, float(shift + a.trace + b.trace - 2 * overlap))


def frechet_distance(a: NDArray[Any], b: NDArray[Any]) -> float:
    """Return the distance between the Gaussians fitted to features [n, d] and [m, d]."""
    return distance(fit(a), fit(b))
