"""ring8 and grid25: their centres and points."""

import itertools

import numpy as np
import pytest

from trainers.data import load
from trainers.data.mixtures import ring
from trainers.registry import Params

DIGESTS = {
    "ring8": "116df205f68c5d1190390714c64b2cd08be0b5c0d40cf733c9e303e1b18e1c03",
    "grid25": "157aab2a941d45e0eb19317f276e968ee59e7a2b1d9f1cd308bc05ad2b0b29b7",
}


@pytest.mark.parametrize("name", DIGESTS)
def test_the_points_are_pinned(name):
    assert load(Params(name=name)).digest == DIGESTS[name]


def test_the_ring_has_distinct_centres_on_the_unit_circle():
    modes = ring()
    gaps = np.linalg.norm(modes.centres - np.roll(modes.centres, 1, axis=0), axis=1)
    assert modes.std == 0.01
    assert np.allclose(np.linalg.norm(modes.centres, axis=1), 1)
    assert np.allclose(gaps, 2 * np.sin(np.pi / 8))  # eight equal sides: no centre twice


def test_the_grid_has_the_centres_of_pacgan():
    modes = load(Params(name="grid25")).modes
    assert modes.std == 0.05
    assert {tuple(centre) for centre in modes.centres} == set(itertools.product((-4, -2, 0, 2, 4), repeat=2))


@pytest.mark.parametrize(("name", "num_modes"), [("ring8", 8), ("grid25", 25)])
def test_points_scatter_around_the_mode_of_their_label(name, num_modes):
    """Each bound lies at 6 standard errors or more: with fixed points this fails by chance once in 1e7 data sets."""
    data = load(Params(name=name))
    assert (data.train.shape, data.held_out.shape, data.shape) == ((100_000, 2), (10_000, 2), (2,))
    assert not data.is_image
    assert data.metric == "mixture_kl"
    for samples, labels in ((data.train, data.train_labels), (data.held_out, data.held_out_labels)):
        noise = (samples - data.modes.centres[labels]) / data.modes.std
        bound = 6 / np.sqrt(len(samples))
        assert np.abs(noise.mean(axis=0)).max() < bound
        assert np.abs(np.cov(noise.T) - np.eye(2)).max() < bound * np.sqrt(2)
        shares = np.bincount(labels, minlength=num_modes) / len(labels)
        assert np.abs(shares - 1 / num_modes).max() < bound / np.sqrt(num_modes)


def test_no_point_is_in_both_parts():
    data = load(Params(name="ring8"))
    assert not {tuple(p) for p in data.train.tolist()} & {tuple(p) for p in data.held_out.tolist()}
