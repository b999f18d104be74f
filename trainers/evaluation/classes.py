"""How sure a classifier is of each sample, and how undecided over all of them."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

SPLITS = 10  # Salimans et al. 2016, section 4, over 50,000 samples


def classifier_score(probabilities: NDArray[Any], splits: int = SPLITS) -> dict[str, float]:
    """Return exp E KL(p(y|x) || p(y)) (Salimans et al. 2016, section 4).

    It is the Inception Score only where the classifier is Inception; of another one it is not comparable with that.

    Args:
        probabilities: of classes, [n, classes] with n >= splits; rows sum to 1.
        splits: parts, in order, whose scores are averaged.

    Returns:
        classifier_score: the mean over parts, in [1, classes]; with few samples a part it is too low.
        classifier_score_std: over parts, population.

    Raises:
        ValueError: there are fewer rows than splits, or rows do not sum to 1.
    """
    p = np.asarray(probabilities, dtype=np.float64)
    if len(p) < splits or not np.allclose(p.sum(axis=1), 1, atol=1e-3):
        raise ValueError(f"probabilities must sum to 1 in each of at least {splits} rows, but are {list(p.shape)}")
    found = [float(np.exp(_divergence(part))) for part in np.array_split(p, splits)]
    return {"classifier_score": float(np.mean(found)), "classifier_score_std": float(np.std(found))}


def _divergence(p: NDArray[np.float64]) -> float:
    """Return E KL(p(y|x) || p(y)) = H(y) - H(y|x), in nats."""
    return _entropy(p.mean(axis=0)) - float(np.mean([_entropy(row) for row in p]))


def _entropy(p: NDArray[np.float64]) -> float:
    seen = p[p > 0]
    return float(-(seen * np.log(seen)).sum())
