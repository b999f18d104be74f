"""frechet: distance of generated images from held-out ones, on features of a small classifier of the data set."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from trainers.data import Dataset
from trainers.errors import DataError
from trainers.evaluation import Evaluator, Metric
from trainers.evaluation import extractor as extractors
from trainers.evaluation.extractor import Extractor
from trainers.evaluation.frechet import Gaussian, distance, fit
from trainers.registry import Params


def make_frechet(_params: Params) -> Metric:
    """Return the metric `frechet_<first 8 hex digits of the extractor's SHA-256>` (after Heusel et al. 2017, eq. 6).

    The name holds the extractor's hash since distances on different extractors cannot be compared; none of them is
    the FID, which is defined on Inception's features. `confidence` is the mean of the greatest class probability,
    `class_min_share` the smallest share of the samples that a class has by the classifier's judgement.
    """
    return _evaluator


def image_scores(
    samples: NDArray[np.float32], extractor: Extractor, reference: Gaussian, name: str
) -> dict[str, float]:
    """Return the distance of images [n, *shape] from the reference and their class statistics; NaN if not finite."""
    features, probabilities = extractor(samples)
    if not (np.isfinite(samples).all() and np.isfinite(features).all()):
        return dict.fromkeys((name, "confidence", "class_min_share"), float("nan"))
    shares = np.bincount(probabilities.argmax(axis=1), minlength=extractor.classes) / len(samples)
    return {
        name: distance(fit(features), reference),
        "confidence": float(probabilities.max(axis=1).mean(dtype=np.float64)),
        "class_min_share": float(shares.min()),
    }


def _evaluator(dataset: Dataset, extractor: bytes | None) -> Evaluator:
    if not dataset.is_image:
        raise DataError(f"data set {dataset.name}: the frechet metric needs images; choose metrics: [{dataset.metric}]")
    loaded = extractors.load(extractors.train(dataset) if extractor is None else extractor)
    if loaded.shape != dataset.shape:
        raise DataError(
            f"the feature extractor must be for images of the shape {dataset.shape} of data set {dataset.name}, "
            f"but was trained on {loaded.shape}"
        )
    name = f"frechet_{loaded.digest[:8]}"
    reference = fit(loaded(dataset.held_out)[0])
    return Evaluator(
        metric=name,
        shape=dataset.shape,
        score=lambda samples: image_scores(samples, loaded, reference, name),
        features=lambda samples: loaded(samples)[0],
        perfect=0.0,
    )
