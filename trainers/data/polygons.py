"""polygons: 28x28 images of one filled convex polygon, drawn from a formula."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from trainers.data import Dataset
from trainers.params.data import PolygonsParams

KEY = 0x9017_60E5  # a constant: the polygons are a data set, not a draw of the training
SIDE, SUBPIXELS = 28, 8
CHUNK = 2_000  # polygons at a time

Corners = NDArray[np.float64]


def make(params: PolygonsParams) -> Dataset:
    """Return white polygons on black, after the triangles of Lucic et al. 2018 (section 5.2).

    Theirs are 28x28 too, with three corners, angles of 20 degrees and more, a scale of 0.75 and 8x8 subpixels; here the
    corners are uniform in the square, and drawn again until they make a convex polygon with such angles.
    """
    n = params.train + params.held_out
    images = np.concatenate([filled(part) for part in np.array_split(corners(params, n), math.ceil(n / CHUNK))])
    return Dataset(
        name=params.name,
        train=images[: params.train],
        held_out=images[params.train :],
        metric="sliced_wasserstein",
        licence="none needed: drawn from a formula",
    )


def corners(params: PolygonsParams, n: int) -> Corners:
    """Return the corners of n polygons in pixels, [n, vertices, 2] as (x, y), in the order of their angles."""
    found: list[Corners] = []
    for drawn in _drawn(params):
        found.append(drawn)
        if sum(map(len, found)) >= n:
            break
    inside = (np.concatenate(found)[:n] - 0.5) * params.scale + 0.5
    return inside * SIDE


def _drawn(params: PolygonsParams) -> Iterator[Corners]:
    draw = np.random.Generator(np.random.Philox(key=KEY))
    greatest_cosine = math.cos(math.radians(params.min_angle))
    while True:
        points = draw.random((CHUNK, params.vertices, 2))
        spokes = points - points.mean(axis=1, keepdims=True)
        order = np.arctan2(spokes[..., 1], spokes[..., 0]).argsort(axis=1, kind="stable")
        points = np.take_along_axis(points, order[..., None], axis=1)
        ahead = np.roll(points, -1, axis=1) - points
        behind = np.roll(points, 1, axis=1) - points
        turns = ahead[..., 0] * behind[..., 1] - ahead[..., 1] * behind[..., 0]
        cosines = (ahead * behind).sum(axis=2) / (np.hypot(*ahead.T) * np.hypot(*behind.T)).T
        yield points[((turns > 0) & (cosines <= greatest_cosine)).all(axis=1)]


def filled(polygons: Corners) -> NDArray[np.float32]:
    """Return images [n, 1, 28, 28] of convex polygons: a pixel is -1 to 1 by its share of 8x8 points that lie inside.

    A line of points is inside between the last of the edges that it enters by and the first that it leaves by, so that
    a line costs two numbers and no point is tested.

    Args:
        polygons: [n, vertices, 2] in pixels, counted so that x cross y is positive, as `corners` gives them.
    """
    y = (np.arange(SIDE * SUBPIXELS) + 0.5) / SUBPIXELS
    first = np.full((len(polygons), len(y)), 0.0)
    last = np.full((len(polygons), len(y)), float(SIDE))
    for start, end in zip(polygons.transpose(1, 0, 2), np.roll(polygons, -1, axis=1).transpose(1, 0, 2), strict=True):
        run, rise = (end - start).T[..., None]  # inside is where run (y - start.y) - rise (x - start.x) > 0
        with np.errstate(divide="ignore", invalid="ignore"):
            crossing = start[:, :1] + (y - start[:, 1:]) * run / rise
        above = run * (y - start[:, 1:]) > 0
        first = np.where(rise < 0, np.maximum(first, crossing), first)
        last = np.where(rise > 0, np.minimum(last, crossing), last)
        last = np.where((rise == 0) & ~above, 0.0, last)
    lines = _covered(first, last).reshape(len(polygons), SIDE, SUBPIXELS, SIDE)
    shares = lines.sum(axis=2, dtype=np.int64) / SUBPIXELS**2
    images: NDArray[np.float32] = (2 * shares - 1).astype(np.float32)[:, None]
    return images


def _covered(first: NDArray[np.float64], last: NDArray[np.float64]) -> NDArray[np.int16]:
    """Return how many of a pixel's points on a line lie in (first, last): [n, lines, 28]."""
    left = np.arange(SIDE, dtype=np.int16) * np.int16(SUBPIXELS)
    below_first, below_last = (
        np.ceil(np.clip(bound, 0, SIDE) * SUBPIXELS - 0.5).astype(np.int16)[..., None] for bound in (first, last)
    )
    low = np.clip(below_first - left, 0, SUBPIXELS)
    counts: NDArray[np.int16] = np.maximum(np.clip(below_last - left, 0, SUBPIXELS) - low, 0).astype(np.int16)
    return counts
