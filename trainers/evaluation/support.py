"""How many different samples a generator can draw at all, by the birthday paradox."""

from __future__ import annotations

import math
from typing import Any

from numpy.typing import NDArray

from trainers.evaluation.pairs import blocks, nearest, rows_of


def support_size(samples: NDArray[Any], apart: float) -> dict[str, float]:
    """Return an estimate of the number of different samples, from pairs that coincide.

    Source: Arora and Zhang 2018, section 2, the birthday paradox.

    Of n samples that are uniform over N, n (n - 1) / 2N pairs are expected to coincide. A generator that favours some
    of its N samples has more, so that the estimate is a lower bound of N: 1 / sum p_i^2.

    Args:
        samples: [n, d] with n >= 2, finite.
        apart: two samples nearer than this are one and the same.

    Returns:
        support: the estimate, infinite where no two samples coincide. twins: share of the samples that have one.
    """
    (rows,) = rows_of(samples)
    n = len(rows)
    pairs = (sum(int((found < apart).sum()) for _, found in blocks(rows, rows)) - n) / 2
    twins = float((nearest(rows, rows, itself=True) < apart).double().mean())
    return {"support": n * (n - 1) / 2 / pairs if pairs else math.inf, "twins": twins}
