"""The scores of samples of a Gaussian mixture."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy.stats import chi

from trainers.data import Modes, load
from trainers.data.mixtures import grid, ring
from trainers.evaluation.mixtures import LOW_QUALITY, mixture_scores, nearest_mode, radius, true_spread
from trainers.registry import Params

PAIR = Modes(centres=np.array([[0.0, 0.0], [10.0, 0.0]]), std=1.0)


def true_samples(modes, n, seed):
    draw = np.random.default_rng(seed)
    return modes.centres[draw.integers(len(modes.centres), size=n)] + modes.std * draw.standard_normal((n, 2))


def test_nearest_mode_and_its_distance():
    index, distance = nearest_mode(np.array([[3.0, 4.0], [9.0, 0.0], [np.nan, 0.0], [np.inf, 0.0]]), PAIR)
    assert index[:2].tolist() == [0, 1]
    assert distance.tolist() == [5.0, 1.0, math.inf, math.inf]


@pytest.mark.parametrize(("axes", "expected"), [(1, 2.5392), (2, 3.0), (700, 28.0778)])
def test_true_samples_are_within_the_radius_as_often_in_any_number_of_dimensions(axes, expected):
    modes = Modes(centres=np.zeros((1, 900)), std=2.0, axes=axes)
    assert radius(modes) == pytest.approx(2 * expected, abs=1e-3)
    assert radius(modes) == pytest.approx(2 * chi.ppf(1 - LOW_QUALITY, axes), rel=1e-9)


def test_modes_that_ten_gaussians_lose_are_seen_and_so_is_what_lies_beside_their_axes():
    data = load(Params(name="gaussian_1200d"))
    whole = mixture_scores(data.held_out, data.modes)
    assert (whole["modes"], whole["high_quality"]) == (10, pytest.approx(1 - LOW_QUALITY, abs=6 * 0.0024))
    half = mixture_scores(data.held_out[data.held_out_labels < 5], data.modes)
    assert half["modes"] == 5
    assert half["mixture_kl"] == pytest.approx(math.log(2), abs=0.05)
    beside = data.held_out.copy()
    beside[:, 700:] = 1
    assert mixture_scores(beside, data.modes)["high_quality"] == 0


def test_scores_by_hand():
    """Four samples: two of high quality at the first mode, one at the second, one 4 std off the second."""
    samples = np.array([[0, 0], [0, 3], [10, -2.9], [10, 4]], dtype=np.float32)
    share = (1 - math.exp(-4.5)) / 2
    expected = 0.5 * math.log(0.5 / share) + 0.25 * math.log(0.25 / share) + 0.25 * math.log(0.25 / math.exp(-4.5))
    assert mixture_scores(samples, PAIR) == {
        "mixture_kl": pytest.approx(expected),
        "modes": 2.0,
        "high_quality": 0.75,
        "reverse_kl": pytest.approx(0.0),
        "mode_tv": 0.0,
        "spread": pytest.approx(math.sqrt((0 + 9 + 2.9**2) / 3) / true_spread(PAIR)),
    }


def test_the_score_comes_first_for_the_reader_of_scores():
    assert next(iter(mixture_scores(np.zeros((2, 2)), PAIR))) == "mixture_kl"


@pytest.mark.parametrize("modes", [ring(), grid()])
def test_true_samples_reach_the_ceilings(modes):
    """False-failure rate below 1e-6 a case: 5 standard errors of a binomial share, and a chi-squared tail.

    2 n KL is about chi-squared with k degrees of freedom, at most 25: beyond 100 lies 1e-10 of it.
    """
    n = 50_000
    scores = mixture_scores(true_samples(modes, n, seed=7), modes)
    ceiling = 1 - LOW_QUALITY
    assert ceiling == pytest.approx(0.98889, abs=1e-5)
    assert scores["high_quality"] == pytest.approx(ceiling, abs=5 * math.sqrt(ceiling * LOW_QUALITY / n))
    assert scores["modes"] == len(modes.centres)
    assert scores["mixture_kl"] < 100 / (2 * n)
    assert scores["reverse_kl"] < 100 / (2 * n)
    assert scores["mode_tv"] < math.sqrt(100 / n) / 2  # by Pinsker's inequality
    assert scores["spread"] == pytest.approx(1, abs=0.02)  # standard error of a mean square below 1 / sqrt(n)


@pytest.mark.parametrize("axes", [1, 2, 40])
def test_the_true_spread_is_that_of_true_samples_within_the_radius(axes):
    """Of 200,000 draws; the bound is six standard errors of a root mean square with one axis."""
    modes = Modes(centres=np.zeros((1, 50)), std=3.0, axes=axes)
    far = np.linalg.norm(3.0 * np.random.default_rng(1).standard_normal((200_000, axes)), axis=1)
    expected = math.sqrt(np.square(far[far <= radius(modes)]).mean())
    assert true_spread(modes) == pytest.approx(expected, rel=0.01)


def test_modes_that_are_points_have_no_spread_though_all_samples_are_of_high_quality():
    modes = ring()
    scores = mixture_scores(modes.centres, modes)
    assert (scores["high_quality"], scores["modes"], scores["spread"]) == (1, 8, 0)


def test_collapse_is_seen():
    modes = ring()
    one = np.repeat(modes.centres[:1], 100, axis=0)
    half = true_samples(Modes(centres=modes.centres[:4], std=modes.std), 2000, seed=1)
    assert mixture_scores(one, modes)["modes"] == 1
    assert mixture_scores(one, modes)["reverse_kl"] == pytest.approx(math.log(8))
    assert mixture_scores(one, modes)["mode_tv"] == pytest.approx(7 / 8)
    assert mixture_scores(one, modes)["mixture_kl"] == pytest.approx(math.log(8 / (1 - LOW_QUALITY)))
    assert mixture_scores(half, modes)["mixture_kl"] == pytest.approx(math.log(2), abs=0.03)


def test_garbage_is_seen_where_the_histogram_alone_is_blind():
    """Samples in all directions, far off: the histogram over modes is nearly uniform, yet none of them is any good."""
    modes = ring()
    angles = np.linspace(0, 2 * np.pi, 4000, endpoint=False)
    far = 5 * np.stack([np.cos(angles), np.sin(angles)], axis=1)
    scores = mixture_scores(far, modes)
    assert scores["reverse_kl"] < 1e-4
    assert scores["mixture_kl"] == pytest.approx(4.5)
    assert scores["high_quality"] == scores["modes"] == 0


def test_samples_that_are_not_finite_are_of_low_quality_and_near_no_mode():
    modes = ring()
    samples = true_samples(modes, 4000, seed=3)
    samples[::2] = np.nan
    scores = mixture_scores(samples, modes)
    assert scores["high_quality"] == pytest.approx(0.49, abs=0.02)
    assert scores["reverse_kl"] < 0.03
    everything = mixture_scores(np.full((10, 2), np.inf), modes)
    worst = {"mixture_kl": 4.5, "modes": 0, "high_quality": 0, "reverse_kl": pytest.approx(math.log(8))}
    assert everything == worst | {"mode_tv": 7 / 8, "spread": 0}


@settings(max_examples=200, deadline=None)
@given(hnp.arrays(np.float64, st.tuples(st.integers(1, 20), st.just(2))))
def test_the_scores_of_any_samples_are_finite_and_bounded(samples):
    modes = grid()
    scores = mixture_scores(samples, modes)
    assert 0 <= scores["mixture_kl"] <= 4.5
    assert 0 <= scores["reverse_kl"] <= math.log(25) + 1e-12
    assert 0 <= scores["high_quality"] <= 1
    assert 0 <= scores["modes"] <= 25
    assert 0 <= scores["mode_tv"] <= 24 / 25 + 1e-12
    assert 0 <= scores["spread"] <= 3 * modes.std / true_spread(modes) + 1e-12
