"""Scores on arrays of samples; the feature extractor."""

from __future__ import annotations

import math
import reprlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from trainers.config import TrainConfig
from trainers.data import Dataset
from trainers.evaluation import extractor as _extractor
from trainers.registry import find


@dataclass(frozen=True, kw_only=True)
class Evaluator:
    """Scores generated samples against the held-out part of a data set.

    It draws no random number, so that a training with it equals one without.

    Attributes:
        metric: the score's name, such as `mixture_kl` or `frechet_3f9c1a2b`; lower is better.
        shape: of one sample.
        score: from float32 [n, *shape] to the scores, the metric's first.
        features: from float32 [n, *shape] to [n, d], where distances say more than between the samples themselves.
        perfect: the score of a perfect generator, which none is below; None where that is not known.
    """

    metric: str
    shape: tuple[int, ...]
    score: Callable[[NDArray[np.float32]], dict[str, float]]
    features: Callable[[NDArray[np.float32]], NDArray[Any]] | None = None
    perfect: float | None = None

    def scores(self, samples: NDArray[np.float32]) -> dict[str, float]:
        """Return the score and its companions; samples that are not finite give a bad score or NaN, not an error.

        Args:
            samples: float32 [n, *shape] with n >= 2, images in [-1, 1].

        Returns:
            The metric's name and value first, then what helps to read it.

        Raises:
            ValueError: the samples have another shape than the data, or are fewer than two; or `score` returned
                something else than numbers by name, the metric's first.
        """
        if samples.shape[1:] != self.shape or len(samples) < 2:  # noqa: PLR2004 - a covariance needs two
            raise ValueError(f"samples must be [n >= 2, *{self.shape}], but got {list(samples.shape)}")
        told = self.score(samples)
        if not _is_of(self.metric, told):
            rule = f"metric {self.metric} must return numbers by name, {self.metric!r} first"
            raise ValueError(f"{rule}, but returned {reprlib.repr(told)}")
        return {name: float(value) for name, value in told.items()}


def _is_of(metric: str, told: object) -> bool:
    return isinstance(told, Mapping) and next(iter(told), None) == metric and all(map(_holds, told.values()))


def _holds(value: object) -> bool:
    """Whether a float64 can hold a value; NaN and infinity are numbers here, and a bad score to whoever asked."""
    try:
        math.isfinite(value)  # type: ignore[arg-type]
    except (TypeError, OverflowError):
        return False
    return True


class Metric(Protocol):
    """What the registry's `make(params)` of a metric returns."""

    def __call__(self, dataset: Dataset, extractor: bytes | None, /) -> Evaluator:
        """Return the evaluator of a data set; a metric that needs no extractor ignores it."""
        ...


def train_extractor(dataset: Dataset) -> bytes | None:
    """Return the feature extractor of a data set, or None where it has no images or no labels.

    Returns:
        safetensors; the same bytes in each call on one machine. No global random state is read or changed.
    """
    if not dataset.is_image or dataset.train_labels is None:
        return None
    return _extractor.train(dataset)


def make_evaluator(config: TrainConfig, dataset: Dataset, extractor: bytes | None) -> Evaluator:
    """Return what scores the samples of a training.

    Args:
        config: its `metrics` names the score; empty is the data set's own.
        dataset: what is trained on.
        extractor: from `train_extractor`; None trains it if the metric needs one.

    Raises:
        ConfigError: nothing has the metric's name.
        DataError: the metric does not suit the data, or the extractor was trained for other data.
        IntegrityError: the extractor's bytes are damaged.
    """
    name = config.metrics[0] if config.metrics else dataset.metric
    variant = find("metric", name)
    metric: Metric = variant.load_make()(variant.load_params().model_validate({"name": name}))
    return metric(dataset, extractor)


def baseline(config: TrainConfig, dataset: Dataset, extractor: bytes | None) -> float:
    """Return the score of the training part against the held-out one: the floor that a generator is compared with."""
    evaluator = make_evaluator(config, dataset, extractor)
    return evaluator.scores(dataset.train)[evaluator.metric]
