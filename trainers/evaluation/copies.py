"""How near samples are to training data, also where they are shifted or flipped."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from trainers.evaluation.pairs import nearest, rows_of

SHIFT = 3  # pixels to each side: what is copied often comes back moved by as much

Images = NDArray[Any]
Features = Callable[[Images], NDArray[Any]]


def memorisation_ratio(
    samples: NDArray[Any], train: NDArray[Any], held_out: NDArray[Any], quantile: float = 0.5
) -> float:
    """Return how near samples are to the training part, over how near the held-out part is (Bai et al. 2021, eq. 3).

    Args:
        samples: features of generated samples, [n, d], finite.
        train: features of what was trained on, [m, d], finite.
        held_out: features of what was not, [k, d], finite.
        quantile: of distances from the nearest of `train`; a low one sees a few copies among many samples.

    Returns:
        About 1 for samples from the truth, 0 for copies, more than 1 for samples that are far from all data.

    Raises:
        ValueError: rows are missing or not finite, or `quantile` of the held-out rows are copies of training rows, so
            that nothing can be said.
    """
    return _ratio(samples, held_out, [train], quantile)


def image_memorisation(
    samples: Images, train: Images, held_out: Images, features: Features, *, shift: int = SHIFT, quantile: float = 0.5
) -> float:
    """Return `memorisation_ratio` of images, where the nearest training image may be shifted or flipped.

    Args:
        samples: generated, [n, c, h, w].
        train: what was trained on, [m, c, h, w]; it is moved, and its features computed, 2 (2 shift + 1)^2 times.
        held_out: what was not, [k, c, h, w].
        features: of images [n, c, h, w], [n, d].
        shift: pixels to each side.
        quantile: as there.
    """
    moved = (features(images) for images in variants(train, shift))
    return _ratio(features(samples), features(held_out), moved, quantile)


def variants(images: Images, shift: int = SHIFT) -> Iterator[Images]:
    """Yield images [n, c, h, w] and their mirror images at each shift; an edge's own pixel moves in."""
    padded = np.pad(images, ((0, 0), (0, 0), (shift, shift), (shift, shift)), mode="edge")
    h, w = images.shape[2:]
    for top, left in np.ndindex(2 * shift + 1, 2 * shift + 1):
        moved = padded[:, :, top : top + h, left : left + w]
        yield np.ascontiguousarray(moved)
        yield np.ascontiguousarray(moved[..., ::-1])


def _ratio(samples: NDArray[Any], held_out: NDArray[Any], parts: Iterable[NDArray[Any]], quantile: float) -> float:
    """Return the ratio of both kinds' quantiles of the distance from the nearest row of any part."""
    both = torch.cat(rows_of(samples, held_out, least=1))
    closest = torch.full((len(both),), torch.inf, dtype=torch.float64)
    for part in parts:
        (known,) = rows_of(part, least=1)
        closest = torch.minimum(closest, nearest(both, known))
    ours, theirs = (float(found.quantile(quantile)) for found in (closest[: len(samples)], closest[len(samples) :]))
    if theirs == 0:
        raise ValueError(f"memorisation needs held-out data that are new, but {quantile:.0%} of them are training data")
    return ours / theirs
