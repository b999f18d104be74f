"""mixture_kl: reverse KL over modes and low-quality samples of a Gaussian mixture, and its companions."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from trainers.data import Dataset, Modes
from trainers.errors import DataError
from trainers.evaluation import Evaluator, Metric
from trainers.registry import Params

LOW_QUALITY = math.exp(-(3**2) / 2)  # of the truth in the plane: 1.11 % of a Gaussian are beyond 3 std of its mean
BISECTIONS = 100  # to the last bit


def nearest_mode(samples: NDArray[Any], modes: Modes) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Return each sample's nearest mode [n] and the distance to it [n]; a sample that is not finite is at infinity.

    Args:
        samples: [n, d].
        modes: the mixture.
    """
    x = np.asarray(samples, dtype=np.float64)
    finite: NDArray[np.bool_] = np.all(np.isfinite(x), axis=1)
    x = np.where(finite[:, None], x, 0)
    with np.errstate(over="ignore"):  # a distance beyond float64 is infinite, which is what it means here
        distances = np.stack([np.hypot.reduce(x - centre, axis=1) for centre in modes.centres], axis=1)
    nearest = distances.argmin(axis=1)
    return nearest.astype(np.int64), np.where(finite, distances.min(axis=1), np.inf)


def radius(modes: Modes) -> float:
    """Return how far from its mode a sample of high quality may be: 3 std in the plane (Srivastava et al. 2017).

    With other numbers of axes it is what has as many true samples within, 98.89 %: a quantile of the chi distribution.
    """
    half = torch.tensor((modes.axes or modes.centres.shape[1]) / 2, dtype=torch.float64)
    low, high = torch.zeros_like(half), 10 * half + 50  # of half a squared distance
    for _ in range(BISECTIONS):
        middle = (low + high) / 2
        if torch.special.gammaincc(half, middle) > LOW_QUALITY:
            low = middle
        else:
            high = middle
    return modes.std * math.sqrt(2 * float(high))


def true_spread(modes: Modes) -> float:
    """Return the root mean square distance from its mode of a true sample that is within `radius` of it.

    With m axes E[r^2; r < R] is m std^2 P(m/2 + 1, R^2 / 2 std^2), P the regularised lower incomplete gamma function.
    """
    axes = modes.axes or modes.centres.shape[1]
    half = torch.tensor([axes / 2 + 1, axes / 2], dtype=torch.float64)
    within, all_of_them = torch.special.gammainc(half, torch.full_like(half, (radius(modes) / modes.std) ** 2 / 2))
    return modes.std * math.sqrt(axes * float(within / all_of_them))


def kl(counts: NDArray[np.int64], probabilities: NDArray[np.float64]) -> float:
    """Return KL(counts / sum(counts) || probabilities) in nats.

    Args:
        counts: [k], not negative, with a positive sum.
        probabilities: [k], positive, with the sum 1.
    """
    shares = counts / counts.sum()
    seen = shares > 0
    return max(0.0, float((shares[seen] * np.log(shares[seen] / probabilities[seen])).sum()))


def mixture_scores(samples: NDArray[Any], modes: Modes) -> dict[str, float]:
    """Return how well samples cover a mixture; always finite.

    Args:
        samples: [n, d] with n >= 1; one that is not finite is of low quality and near no mode.
        modes: the mixture of k Gaussians, which lie much further apart than 3 std.

    Returns:
        mixture_kl: KL of the samples from the truth over k + 1 outcomes: of high quality and nearest to mode i, which
            the truth gives (1 - exp(-9/2)) / k, or of low quality, exp(-9/2). In nats, in [0, 4.5]; 0 is the truth (n
            true samples have about k / 2n).
        modes: number of modes that are nearest to at least one sample of high quality, which is within `radius` of it.
        high_quality: share of such samples; the truth has 0.9889, so that more of them is no better.
        reverse_kl: KL from uniform of the histogram of all samples by nearest mode, whatever their quality (the
            convention of Liu et al. 2020, self-conditioned GAN); in [0, log k].
        mode_tv: total variation distance of that histogram from uniform, in [0, 1 - 1/k].
        spread: root mean square distance of the samples of high quality from their mode, over what the truth has: 1
            is the truth, near 0 each mode is one point, which no share of high quality shows; 0 where there are none.
    """
    k = len(modes.centres)
    nearest, distances = nearest_mode(samples, modes)
    high = distances <= radius(modes)
    by_mode = np.bincount(nearest[high], minlength=k)
    truth = np.append(np.full(k, (1 - LOW_QUALITY) / k), LOW_QUALITY)
    assigned = np.bincount(nearest[np.isfinite(distances)], minlength=k)
    shares = assigned / max(1, assigned.sum())
    return {
        "mixture_kl": kl(np.append(by_mode, (~high).sum()), truth),
        "modes": float((by_mode > 0).sum()),
        "high_quality": float(high.mean()),
        "reverse_kl": kl(assigned, np.full(k, 1 / k)) if assigned.any() else math.log(k),
        "mode_tv": float(np.abs(shares - 1 / k).sum() / 2) if assigned.any() else 1 - 1 / k,
        "spread": math.sqrt(np.square(distances[high]).mean()) / true_spread(modes) if high.any() else 0.0,
    }


def make_mixture_kl(_params: Params) -> Metric:
    """Return the metric `mixture_kl`, which sees lost modes, their imbalance and samples that belong to none."""
    return _evaluator


def _evaluator(dataset: Dataset, _extractor: bytes | None) -> Evaluator:
    modes = dataset.modes
    if modes is None:
        raise DataError(
            f"data set {dataset.name}: the mixture_kl metric needs a Gaussian mixture; "
            f"choose metrics: [{dataset.metric}]"
        )
    return Evaluator(
        metric="mixture_kl", shape=dataset.shape, score=lambda samples: mixture_scores(samples, modes), perfect=0.0
    )
