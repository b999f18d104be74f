"""How far two samples of anything are apart: MMD, energy distance, and whether a nearest neighbour can tell them."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor

from trainers.evaluation.pairs import CHUNK, blocks, rows_of

Kernel = Callable[[Tensor, Tensor], Tensor]


def polynomial(a: Tensor, b: Tensor) -> Tensor:
    """Return (a b / d + 1)^3, [n, m] (Binkowski et al. 2018, section 4)."""
    return (a @ b.T / a.shape[1] + 1) ** 3


def gaussian(bandwidth: float) -> Kernel:
    """Return the kernel exp(-|a - b|^2 / 2 bandwidth^2) (Gretton et al. 2012, section 8)."""
    return lambda a, b: torch.cat([torch.exp(-(found**2) / (2 * bandwidth**2)) for _, found in blocks(a, b)])


def median_distance(samples: NDArray[Any]) -> float:
    """Return the median distance of two of the samples, what Gretton et al. 2012, section 8, take for a bandwidth."""
    (rows,) = rows_of(samples)
    return float(torch.pdist(rows).median())


def mmd(samples: NDArray[Any], others: NDArray[Any], kernel: Kernel) -> float:
    """Return the unbiased estimate of the squared maximum mean discrepancy (Gretton et al. 2012, eq. 3).

    Args:
        samples: [n, d] with n >= 2, finite.
        others: [m, d] with m >= 2, finite.
        kernel: of rows [n, d] and [m, d], [n, m].

    Returns:
        A number around 0 where both are from one distribution, and then below it half of the time.
    """
    x, y = rows_of(samples, others)
    between = sum(float(kernel(x[at : at + CHUNK], y).sum()) for at in range(0, len(x), CHUNK)) / (len(x) * len(y))
    return _within(x, kernel) + _within(y, kernel) - 2 * between


def kernel_distance(samples: NDArray[Any], others: NDArray[Any]) -> float:
    """Return the squared MMD of features with the polynomial kernel of degree 3 (Binkowski et al. 2018: KID).

    It is of all rows at once, not a mean over subsets, which has the same expectation and more noise. Called KID only
    on Inception's features.
    """
    return mmd(samples, others, polynomial)


def energy_distance(samples: NDArray[Any], others: NDArray[Any]) -> float:
    """Return 2 E|x - y| - E|x - x'| - E|y - y'| without bias (Szekely and Rizzo 2013, eq. 2.1).

    Args:
        samples: [n, d] with n >= 2, finite.
        others: [m, d] with m >= 2, finite.

    Returns:
        A number around 0 where both are from one distribution; in one dimension twice the squared distance of Cramer.
    """
    return mmd(samples, others, lambda a, b: -torch.cat([found for _, found in blocks(a, b)]))


def two_sample_accuracy(samples: NDArray[Any], others: NDArray[Any]) -> dict[str, float]:
    """Return how often a nearest neighbour among all the other rows is of the same kind (Lopez-Paz and Oquab 2017).

    Args:
        samples: [n, d] with n >= 2, finite.
        others: [n, d], as many: with other numbers 1/2 would not be what chance gives.

    Returns:
        accuracy: about 1/2 where both are from one distribution, 1 where they lie apart, 0 where each sample is a copy
            of one of the others (Xu et al. 2018, section 3).
        accuracy_samples, accuracy_others: of each kind; collapsed samples have the first near 1, the second lower.

    Raises:
        ValueError: the two are not equally many.
    """
    x, y = rows_of(samples, others)
    if len(x) != len(y):
        raise ValueError(f"a two-sample test needs as many samples as others, but got {len(x)} and {len(y)}")
    both = torch.cat((x, y))
    kind = torch.arange(len(both)) < len(x)
    hits = torch.zeros(len(both))
    for part, found in blocks(both, both):
        own = torch.arange(part.start, part.start + len(found))
        found[torch.arange(len(found)), own] = math.inf
        same = kind[own][:, None] == kind
        of_same, of_other = (found.where(chosen, math.inf).amin(dim=1) for chosen in (same, ~same))
        hits[own] = (of_same < of_other).float() + 0.5 * (of_same == of_other).float()
    ours, theirs = hits[: len(x)].mean().item(), hits[len(x) :].mean().item()
    return {"accuracy": (ours + theirs) / 2, "accuracy_samples": ours, "accuracy_others": theirs}


def _within(rows: Tensor, kernel: Kernel) -> float:
    """Return the mean of the kernel over pairs of different rows."""
    total = 0.0
    for at in range(0, len(rows), CHUNK):
        found = kernel(rows[at : at + CHUNK], rows)
        total += float(found.sum() - found.diagonal(at).sum())
    return total / (len(rows) * (len(rows) - 1))
