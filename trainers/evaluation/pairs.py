"""Distances between rows of arrays, a block at a time; float64, pure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

CHUNK = 1_000  # rows whose distances from all others are in memory at a time


def rows_of(*arrays: NDArray[Any], least: int = 2) -> tuple[Tensor, ...]:
    """Return arrays [n, ...] as float64 tensors [n, d].

    Raises:
        ValueError: one has fewer rows than `least`, or other columns than the first, or a number that is not finite.
    """
    found = tuple(
        torch.from_numpy(np.ascontiguousarray(array, dtype=np.float64).reshape(len(array), -1)) for array in arrays
    )
    for rows in found:
        if len(rows) < least or rows.shape[1:] != found[0].shape[1:] or not torch.isfinite(rows).all():
            shapes = ", ".join(str(list(array.shape)) for array in arrays)
            raise ValueError(f"samples must be finite, of one width and at least {least}, but got {shapes}")
    return found


def blocks(a: Tensor, b: Tensor) -> Iterator[tuple[slice, Tensor]]:
    """Yield Euclidean distances [rows, len(b)] of the rows of `a` from those of `b`, and which rows they are of.

    They are differences of numbers, not of products, so that equal rows are at 0.
    """
    for at in range(0, len(a), CHUNK):
        part = slice(at, at + CHUNK)
        yield part, torch.cdist(a[part], b, compute_mode="donot_use_mm_for_euclid_dist")


def nearest(a: Tensor, b: Tensor, k: int = 1, *, itself: bool = False) -> Tensor:
    """Return the distance of each row of `a` from its k-th nearest of `b`, [n].

    Args:
        a: [n, d].
        b: [m, d] with m >= k, or m > k where a row is itself among them.
        k: 1 is the nearest.
        itself: whether `a` is `b`, and a row is not to be compared with itself.

    Raises:
        ValueError: `b` has too few rows.
    """
    if len(b) < k + itself:
        raise ValueError(f"k must be less than the number of samples, but got k={k} of {len(b)}")
    return torch.cat([found.kthvalue(k + itself, dim=1).values for _, found in blocks(a, b)])
