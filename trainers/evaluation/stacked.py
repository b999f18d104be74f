"""stacked_modes: reverse KL over the 1,000 modes of stacked digits, and its companions."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from trainers.data import Dataset, load
from trainers.data.stacked import CHANNELS, CLASSES
from trainers.errors import DataError
from trainers.evaluation import Evaluator, Metric
from trainers.evaluation.mixtures import kl
from trainers.registry import Params

NUM_MODES = CLASSES**CHANNELS
CHUNK = 2_000  # images whose distances are in memory at a time


def make_stacked_modes(_params: Params) -> Metric:
    """Return the metric `stacked_modes`, which sees lost modes and their imbalance (Lin et al. 2018, section 4.2)."""
    return _evaluator


def nearest(images: NDArray[Any], known: NDArray[Any]) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Return which of the known images is nearest to each image [n], and its Euclidean distance [n].

    Args:
        images: [n, *shape], finite.
        known: [m, *shape].
    """
    # torch's product, since its threads are part of a training's configuration and NumPy's are not.
    points = torch.from_numpy(known.reshape(len(known), -1).astype(np.float64))
    lengths = points.square().sum(dim=1)
    found, squares = [], []
    for at in range(0, len(images), CHUNK):
        x = torch.from_numpy(images[at : at + CHUNK].reshape(-1, points.shape[1]).astype(np.float64))
        least, index = (lengths - 2 * x @ points.T).min(dim=1)
        found.append(index)
        squares.append((least + x.square().sum(dim=1)).clamp(min=0))
    return torch.cat(found).numpy(), torch.cat(squares).sqrt().numpy()


def stacked_scores(
    stacks: NDArray[Any], digits: NDArray[Any], labels: NDArray[np.int64], unseen: NDArray[Any]
) -> dict[str, float]:
    """Return how evenly stacks cover the modes; all NaN if a number is not finite.

    A stack's mode is the number that its three digits make; a digit is what the nearest known one is, in pixels. So
    noise has a mode too: `distance` tells it from digits.

    Args:
        stacks: [n, 3, height, width].
        digits: [m, 1, height, width], the known ones.
        labels: int64 [m], theirs, in [0, 10).
        unseen: [k, 1, height, width], digits that nothing was trained on.

    Returns:
        stacked_modes: KL of the histogram of modes from uniform, in nats, in [0, log 1000]; n even ones have about
            999 / 2n once n is well above 1,000.
        modes: number of modes that at least one stack has.
        total_variation: half the sum of absolute differences of the histogram from uniform, in [0, 0.999].
        distance: mean Euclidean distance of a channel from its nearest unseen digit: one of the training set has none
            from itself, however few of them a generator repeats.
    """
    if not np.isfinite(stacks).all():
        return dict.fromkeys(("stacked_modes", "modes", "total_variation", "distance"), float("nan"))
    channels = stacks.reshape(-1, *digits.shape[1:])
    index, _ = nearest(channels, digits)
    _, distances = nearest(channels, unseen)
    modes = labels[index].reshape(-1, CHANNELS) @ (CLASSES ** np.arange(CHANNELS - 1, -1, -1))
    counts = np.bincount(modes, minlength=NUM_MODES)
    even = np.full(NUM_MODES, 1 / NUM_MODES)
    return {
        "stacked_modes": kl(counts, even),
        "modes": float((counts > 0).sum()),
        "total_variation": float(np.abs(counts / counts.sum() - even).sum() / 2),
        "distance": float(distances.mean()),
    }


def _evaluator(dataset: Dataset, _extractor: bytes | None) -> Evaluator:
    digits = load(Params(name="digits"))
    if dataset.shape != (CHANNELS, *digits.shape[1:]):
        raise DataError(
            f"data set {dataset.name}: the stacked_modes metric needs stacked digits; "
            f"choose metrics: [{dataset.metric}]"
        )
    assert digits.train_labels is not None  # noqa: S101 - the digits have labels
    score = partial(stacked_scores, digits=digits.train, labels=digits.train_labels, unseen=digits.held_out)
    return Evaluator(metric="stacked_modes", shape=dataset.shape, score=score, perfect=0.0)
