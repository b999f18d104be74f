"""Distances in feature space: what is watched of the samples at each evaluation."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from trainers.data import Dataset
from trainers.evaluation import Evaluator

MOST = 500  # samples of either kind, and rows of the held-out part
MOST_TRAIN = 5_000  # rows of the training part: a copy of one further down is not seen
BINS = 20  # of the held-out part; of 500 samples from the truth one has 25, and 2.5 or fewer in 1 of 10^6 cases
MISSED = 0.1  # of its share: a bin that has no more counts as dropped
ROUNDS = 10  # of k-means
CLOSEST = 0.1  # the quantile of distances that tells of copies: a tenth of the samples is enough of them

EXACT = 16  # numbers a sample

Floats = NDArray[np.float32]
Features = Callable[[Floats], NDArray[Any]]


_kept: dict[int, tuple[Dataset, str, Neighbours]] = {}  # those of the last data set: trials of a study share it


def neighbours_of(dataset: Dataset, evaluator: Evaluator) -> Neighbours:
    """Return the neighbours in the feature space of an evaluator; those of the last data set are remembered."""
    found = _kept.get(id(dataset))
    if found is None or found[0] is not dataset or found[1] != evaluator.metric:
        _kept.clear()
        _kept[id(dataset)] = found = (dataset, evaluator.metric, Neighbours(dataset, evaluator.features))
    return found[2]


class Neighbours:
    """The held-out and the training part in feature space, against which generated samples are held.

    Args:
        dataset: with the two parts.
        features: of samples [n, *shape], [n, d]; None takes the samples' own numbers.
    """

    def __init__(self, dataset: Dataset, features: Features | None) -> None:
        self._features = features if features is not None else lambda samples: samples.reshape(len(samples), -1)
        self._held_out = self._placed(dataset.held_out[:MOST])
        self._train = self._placed(dataset.train[:MOST_TRAIN])
        self._spread = _mean_apart(_distances(self._held_out, self._held_out))
        self._centres = _centres(self._held_out)
        self._shares = _shares(self._held_out, self._centres)
        self._novelty = _closest(self._held_out, self._train)

    def values(self, samples: Floats) -> dict[str, float]:
        """Return what distances say of generated samples; all NaN where these are not finite, or the data one point.

        Args:
            samples: float32 [n, *shape]; 500 of them are looked at.

        Returns:
            dropped: share of the held-out part that lies in bins with a tenth of their samples or fewer, in [0, 1]; a
                bin is what is nearest to one of 20 centres (the bins of Richardson and Weiss 2018, section 2).
            memorisation: how near the nearest tenth of the samples is to the training part, over how near the nearest
                tenth of the held-out part is: 1 for samples from the truth, 0 for copies; NaN where the held-out part
                has copies of the training part itself.
            energy: the energy distance of samples and held-out part over twice their mean distance, in [0, 1]: 0 where
                the two are one distribution, 1 where each is one point (Szekely and Rizzo 2013, section 2.2, E / 2A).
        """
        if not np.isfinite(samples[:MOST]).all() or self._spread == 0:
            return dict.fromkeys(("dropped", "memorisation", "energy"), float("nan"))
        made = self._placed(samples[:MOST])
        missed = _shares(made, self._centres) <= MISSED * self._shares
        ratio = _closest(made, self._train) / self._novelty if self._novelty > 0 else float("nan")
        mean = float(_distances(self._held_out, made).mean())
        energy = 1 - (self._spread + _mean_apart(_distances(made, made))) / (2 * mean) if mean > 0 else 0.0
        return {"dropped": float(self._shares[missed].sum()), "memorisation": float(ratio), "energy": max(0.0, energy)}

    def _placed(self, samples: Floats) -> torch.Tensor:
        return torch.from_numpy(np.ascontiguousarray(self._features(samples), dtype=np.float32))


def _distances(samples: torch.Tensor, others: torch.Tensor) -> torch.Tensor:
    """Return Euclidean distances; by products of matrices only where there are many numbers, since these round off."""
    exact = samples.shape[1] <= EXACT
    mode = "donot_use_mm_for_euclid_dist" if exact else "use_mm_for_euclid_dist"
    found: torch.Tensor = torch.cdist(samples, others, compute_mode=mode)
    return found


def _centres(samples: torch.Tensor) -> torch.Tensor:
    """Return the centres of bins: k-means from points that are far from each other, which draws no random number."""
    centres = samples[:1]
    while len(centres) < min(BINS, len(samples)):
        far = _distances(samples, centres).min(dim=1).values
        centres = torch.cat((centres, samples[far.argmax()][None]))
    for _ in range(ROUNDS):
        nearest = _distances(samples, centres).argmin(dim=1)
        means = [samples[nearest == place].mean(dim=0) for place in range(len(centres))]
        centres = torch.stack([old if torch.isnan(new).any() else new for old, new in zip(centres, means, strict=True)])
    return centres


def _shares(samples: torch.Tensor, centres: torch.Tensor) -> torch.Tensor:
    nearest = _distances(samples, centres).argmin(dim=1)
    return torch.bincount(nearest, minlength=len(centres)) / len(samples)


def _mean_apart(distances: torch.Tensor) -> float:
    rows = len(distances)  # a point is not apart from itself
    return float(distances.sum(dtype=torch.float64)) / (rows * max(1, rows - 1))


def _closest(samples: torch.Tensor, others: torch.Tensor) -> float:
    return float(_distances(samples, others).min(dim=1).values.quantile(CLOSEST))
