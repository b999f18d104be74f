"""ring8, grid25: Gaussian mixtures in the plane, as in PacGAN (Lin et al. 2018, section 4.1)."""

from __future__ import annotations

import math

import numpy as np

from trainers.data import Dataset, Modes
from trainers.registry import Params

KEY = 0x3157_0E50  # a constant: the points are a data set, not a draw of the training
TRAIN, HELD_OUT = 100_000, 10_000


def ring(num_modes: int = 8, radius: float = 1.0, std: float = 0.01) -> Modes:
    """Return distinct centres, evenly spaced on a circle (the end of the circle is its start, and is left out)."""
    angles = [2 * math.pi * mode / num_modes for mode in range(num_modes)]
    return Modes(centres=radius * np.array([(math.cos(a), math.sin(a)) for a in angles]), std=std)


def grid(side: int = 5, spacing: float = 2.0, std: float = 0.05) -> Modes:
    """Return centres on a square grid around the origin."""
    axis = [spacing * (place - (side - 1) / 2) for place in range(side)]
    return Modes(centres=np.array([(x, y) for x in axis for y in axis]), std=std)


def _dataset(params: Params, modes: Modes, stream: int) -> Dataset:
    draw = np.random.Generator(np.random.Philox(key=KEY + stream))
    labels = draw.integers(len(modes.centres), size=TRAIN + HELD_OUT)
    points = modes.centres[labels] + modes.std * draw.standard_normal((TRAIN + HELD_OUT, 2))
    samples = points.astype(np.float32)
    return Dataset(
        name=params.name,
        train=samples[:TRAIN],
        held_out=samples[TRAIN:],
        train_labels=labels[:TRAIN],
        held_out_labels=labels[TRAIN:],
        modes=modes,
        metric="mixture_kl",
        licence="none needed: drawn from a formula",
    )


def make_ring8(params: Params) -> Dataset:
    """Return 8 Gaussians of std 0.01 on the unit circle: 100,000 points to train on, 10,000 held out."""
    return _dataset(params, ring(), stream=0)


def make_grid25(params: Params) -> Dataset:
    """Return 25 Gaussians of std 0.05 on {-4, -2, 0, 2, 4} squared: 100,000 points to train on, 10,000 held out."""
    return _dataset(params, grid(), stream=1)
