"""swiss_roll, gaussian_1200d, dirac: points that are drawn from a formula and are no mixture in the plane."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from trainers.data import Dataset, Modes
from trainers.registry import Params

KEY = 0x5015_0011  # a constant: the points are a data set, not a draw of the training
FORMULA = "none needed: drawn from a formula"
ROLL_NOISE, ROLL_SCALE = 0.25, 7.5
NUM_MODES, MODE_DIMENSIONS, DIMENSIONS = 10, 700, 1200


def make_swiss_roll(params: Params) -> Dataset:
    """Return the swiss roll of WGAN-GP's toy experiments: 100,000 points to train on, 10,000 held out.

    (t cos t, t sin t) with t uniform on [3 pi / 2, 9 pi / 2], plus noise of std 0.25, over 7.5 (Gulrajani et al. 2017,
    figure 1; the first and third column of scikit-learn's swiss roll).
    """
    draw, n = _draw(0), 110_000
    angle = 1.5 * np.pi * (1 + 2 * draw.random(n))
    points = np.stack([angle * np.cos(angle), angle * np.sin(angle)], axis=1)
    points += ROLL_NOISE * draw.standard_normal((n, 2))
    return _dataset(params, (points / ROLL_SCALE).astype(np.float32), 100_000)


def make_gaussian_1200d(params: Params) -> Dataset:
    """Return 10 Gaussians of 700 dimensions that lie in 1,200: 10,000 points to train on, 2,000 held out.

    After Srivastava et al. 2017 (VEEGAN) in these three numbers alone. Its means, its spread and how it
    embeds are not known to us; here means and noise are N(0, I) in the first 700 coordinates and the others are 0, so
    that means are some 37 apart, and points 26 from their own. Along most directions all of them lie in one heap: the
    sliced Wasserstein distance hardly sees a lost mode, which `metrics: [mixture_kl]` does; but that one is 4.5 for
    every generator that has no sample near a mode, and so says nothing of the way there.
    """
    draw, n = _draw(1), 12_000
    means = draw.standard_normal((NUM_MODES, MODE_DIMENSIONS), dtype=np.float32)
    labels = draw.integers(NUM_MODES, size=n)
    points = np.zeros((n, DIMENSIONS), dtype=np.float32)
    points[:, :MODE_DIMENSIONS] = means[labels] + draw.standard_normal((n, MODE_DIMENSIONS), dtype=np.float32)
    centres = np.zeros((NUM_MODES, DIMENSIONS))
    centres[:, :MODE_DIMENSIONS] = means
    return _dataset(params, points, 10_000, labels, Modes(centres=centres, std=1.0, axes=MODE_DIMENSIONS))


def make_dirac(params: Params) -> Dataset:
    """Return all mass at 0 in one dimension: the data of Dirac-GAN (Mescheder et al. 2018, definition 2.1)."""
    return _dataset(params, np.zeros((1_100, 1), dtype=np.float32), 1_000)


def _draw(stream: int) -> np.random.Generator:
    return np.random.Generator(np.random.Philox(key=KEY + stream))


def _dataset(
    params: Params,
    samples: NDArray[np.float32],
    train: int,
    labels: NDArray[np.int64] | None = None,
    modes: Modes | None = None,
) -> Dataset:
    return Dataset(
        name=params.name,
        train=samples[:train],
        held_out=samples[train:],
        train_labels=None if labels is None else labels[:train],
        held_out_labels=None if labels is None else labels[train:],
        modes=modes,
        metric="sliced_wasserstein",
        licence=FORMULA,
    )
