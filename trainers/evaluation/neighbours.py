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
NEIGHBOURS = 5  # with as many fakes as real samples, fakes from the truth cover 1 - 2^-5 = 97 % (Naeem 2020, lemma 2)
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
        apart = _distances(self._held_out, self._held_out)
        self._spread = _mean_apart(apart)
        near = min(NEIGHBOURS, len(apart) - 1)
        self._radii = apart.kthvalue(near + 1, dim=1).values  # the nearest one is the point itself
        self._novelty = _closest(self._held_out, self._train)

    def values(self, samples: Floats) -> dict[str, float]:
        """Return what distances say of generated samples; all NaN where samples are not finite.

        Args:
            samples: float32 [n, *shape]; 500 of them are looked at.

        Returns:
            coverage: share of the held-out part with a sample among its 5 nearest neighbours' distance, in [0, 1]
                (Naeem et al. 2020, eq. 4).
            memorisation: how near the nearest tenth of the samples is to the training part, over how near the nearest
                tenth of the held-out part is: 1 for samples from the truth, 0 for copies; NaN where the held-out part
                has copies of the training part itself.
            energy: the energy distance of samples and held-out part over twice their mean distance, in [0, 1]: 0 where
                the two are one distribution, 1 where each is one point (Szekely and Rizzo 2013, section 2.2, E / 2A).
        """
        if not np.isfinite(samples[:MOST]).all():
            return dict.fromkeys(("coverage", "memorisation", "energy"), float("nan"))
        made = self._placed(samples[:MOST])
        between = _distances(self._held_out, made)
        covered = (between.min(dim=1).values <= self._radii).float().mean()
        ratio = _closest(made, self._train) / self._novelty if self._novelty > 0 else float("nan")
        mean = float(between.mean())
        energy = 1 - (self._spread + _mean_apart(_distances(made, made))) / (2 * mean) if mean > 0 else 0.0
        return {"coverage": float(covered), "memorisation": float(ratio), "energy": max(0.0, energy)}

    def _placed(self, samples: Floats) -> torch.Tensor:
        return torch.from_numpy(np.ascontiguousarray(self._features(samples), dtype=np.float32))


def _distances(samples: torch.Tensor, others: torch.Tensor) -> torch.Tensor:
    """Return Euclidean distances; by products of matrices only where there are many numbers, since these round off."""
    exact = samples.shape[1] <= EXACT
    mode = "donot_use_mm_for_euclid_dist" if exact else "use_mm_for_euclid_dist"
    found: torch.Tensor = torch.cdist(samples, others, compute_mode=mode)
    return found


def _mean_apart(distances: torch.Tensor) -> float:
    rows = len(distances)  # a point is not apart from itself
    return float(distances.sum(dtype=torch.float64)) / (rows * max(1, rows - 1))


def _closest(samples: torch.Tensor, others: torch.Tensor) -> float:
    return float(_distances(samples, others).min(dim=1).values.quantile(CLOSEST))
