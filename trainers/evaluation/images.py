"""frechet and kernel: distances of generated images from held-out ones, on features of a classifier of the data set."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from trainers.data import Dataset
from trainers.errors import DataError
from trainers.evaluation import Evaluator, Metric
from trainers.evaluation import extractor as extractors
from trainers.evaluation.discrepancy import kernel_distance
from trainers.evaluation.extractor import Extractor
from trainers.evaluation.frechet import distance, fit
from trainers.registry import Params

MOST = 10_000  # held-out rows whose features the kernel compares with


def make_frechet(_params: Params) -> Metric:
    """Return the metric `frechet_<first 8 hex digits of the extractor's SHA-256>` (after Heusel et al. 2017, eq. 6).

    The name holds the extractor's hash since distances on different extractors cannot be compared; none of them is
    the FID, which is defined on Inception's features. `confidence` is the mean of the greatest class probability,
    `class_min_share` the smallest share of the samples that a class has by the classifier's judgement.
    """
    return _evaluator


def make_kernel(_params: Params) -> Metric:
    """Return the metric `kernel_<first 8 hex digits of the extractor's SHA-256>` (after Binkowski et al. 2018).

    The squared MMD with the polynomial kernel of degree 3, which assumes no Gaussians and has no bias for few samples;
    for one held-out part it may lie below 0. Its companions and its name are those of `frechet`; it is not the KID.
    """
    return _kernel_evaluator


def image_scores(
    samples: NDArray[np.float32], extractor: Extractor, far: Callable[[NDArray[np.float32]], float], name: str
) -> dict[str, float]:
    """Return how far features of images [n, *shape] are, and the images' class statistics; NaN if not finite."""
    features, probabilities = extractor(samples)
    if not (np.isfinite(samples).all() and np.isfinite(features).all()):
        return dict.fromkeys((name, "confidence", "class_min_share"), float("nan"))
    shares = np.bincount(probabilities.argmax(axis=1), minlength=extractor.classes) / len(samples)
    return {
        name: far(features),
        "confidence": float(probabilities.max(axis=1).mean(dtype=np.float64)),
        "class_min_share": float(shares.min()),
    }


def _evaluator(dataset: Dataset, extractor: bytes | None) -> Evaluator:
    loaded = _loaded(dataset, extractor, "frechet")
    reference = fit(loaded(dataset.held_out)[0])
    return _evaluated("frechet", dataset, loaded, lambda features: distance(fit(features), reference))


def _kernel_evaluator(dataset: Dataset, extractor: bytes | None) -> Evaluator:
    loaded = _loaded(dataset, extractor, "kernel")
    every = -(-len(dataset.held_out) // MOST)
    reference = loaded(dataset.held_out[::every])[0]
    return _evaluated("kernel", dataset, loaded, lambda features: kernel_distance(features, reference))


def _loaded(dataset: Dataset, extractor: bytes | None, metric: str) -> Extractor:
    if not dataset.is_image:
        raise DataError(
            f"data set {dataset.name}: the {metric} metric needs images; choose metrics: [{dataset.metric}]"
        )
    loaded = extractors.load(extractors.train(dataset) if extractor is None else extractor)
    if loaded.shape != dataset.shape:
        raise DataError(
            f"the feature extractor must be for images of the shape {dataset.shape} of data set {dataset.name}, "
            f"but was trained on {loaded.shape}"
        )
    return loaded


def _evaluated(
    metric: str, dataset: Dataset, loaded: Extractor, far: Callable[[NDArray[np.float32]], float]
) -> Evaluator:
    name = f"{metric}_{loaded.digest[:8]}"
    return Evaluator(
        metric=name,
        shape=dataset.shape,
        score=lambda samples: image_scores(samples, loaded, far, name),
        features=lambda samples: loaded(samples)[0],
        perfect=0.0,
    )
