"""The sliced Wasserstein distance."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import wasserstein_distance

from trainers.config import TrainConfig
from trainers.data import Dataset, load
from trainers.evaluation import baseline, make_evaluator
from trainers.evaluation.sliced import MOST, directions, sorted_projections, wasserstein_1
from trainers.registry import Params

numbers = st.lists(st.floats(-100, 100, width=32), min_size=1, max_size=12)


def scorer(held_out):
    samples = np.asarray(held_out, dtype=np.float32)
    data = Dataset(name="own", train=samples, held_out=samples, metric="sliced_wasserstein", licence="none")
    return make_evaluator(TrainConfig(metrics=("sliced_wasserstein",)), data, None)


def score(samples, held_out):
    return scorer(held_out).scores(np.asarray(samples, dtype=np.float32))["sliced_wasserstein"]


def column(values):
    return np.sort(np.asarray(values, dtype=np.float64))[:, None]


@settings(max_examples=300, deadline=None)
@given(numbers, numbers)
def test_the_distance_on_a_line_is_scipys_whatever_the_two_sizes(a, b):
    assert wasserstein_1(column(a), column(b))[0] == pytest.approx(wasserstein_distance(a, b), rel=1e-9, abs=1e-9)


def test_the_distance_on_a_line_by_hand():
    """Two thirds of {0, 0, 3} and half of {0, 1}: |0-0| up to 1/2, |0-1| up to 2/3, |3-1| up to 1."""
    assert wasserstein_1(column([0, 0, 3]), column([0, 1]))[0] == pytest.approx(1 / 6 + 2 / 3)
    assert wasserstein_1(column([1, 2]), column([2, 4]))[0] == 1.5


def test_every_column_is_a_distance_of_its_own():
    a, b = np.sort(np.random.default_rng(0).normal(size=(9, 5)), axis=0), np.sort(np.ones((4, 5)) * range(5), axis=0)
    expected = [wasserstein_distance(a[:, k], b[:, k]) for k in range(5)]
    assert wasserstein_1(a, b) == pytest.approx(expected)


def test_in_one_dimension_it_is_the_mean_distance_from_the_mass_at_0():
    samples = [[0.5], [-2.0], [3.0], [0.0]]
    assert score(samples, np.zeros((7, 1))) == pytest.approx((0.5 + 2 + 3) / 4, rel=1e-12)
    config = TrainConfig(data="dirac")
    evaluator = make_evaluator(config, load(config.data), None)
    found = evaluator.scores(np.asarray(samples, dtype=np.float32))
    assert found == {"sliced_wasserstein": pytest.approx(5.5 / 4)}


def test_a_shift_costs_the_mean_of_its_projections():
    """Two equal clouds a vector v apart: on direction u the distance is |u.v|; in the plane its mean is 2|v|/pi."""
    cloud = np.random.default_rng(1).normal(size=(40, 2)).astype(np.float32)
    shift = np.array([3.0, -4.0])
    along = directions(2)
    expected = np.abs(shift @ along).mean()
    assert score(cloud + shift, cloud) == pytest.approx(expected, rel=1e-5)
    assert expected == pytest.approx(5 * 2 / np.pi, rel=0.15)  # 128 directions: the std of the mean is 4 %


def test_directions_are_unit_vectors_and_the_same_each_time():
    for dimensions in (1, 2, 192):
        along = directions(dimensions)
        assert along.shape == (dimensions, 128)
        assert np.allclose(np.linalg.norm(along, axis=0), 1)
        assert (directions(dimensions) == along).all()
    assert set(np.abs(directions(1)[0])) == {1.0}
    assert np.abs(directions(192).mean(axis=1)).max() < 6 / np.sqrt(192 * 128)


def test_images_are_projected_pixel_by_pixel():
    images = np.random.default_rng(2).uniform(-1, 1, (2100, 3, 4, 4)).astype(np.float32)
    along = directions(48)
    expected = np.sort(images.reshape(2100, 48).astype(np.float64) @ along, axis=0)
    assert np.allclose(sorted_projections(images, along), expected, atol=1e-12)
    assert score(images[:50], images) > 0
    assert score(images[::-1], images) == pytest.approx(0, abs=1e-12)


def test_the_reference_is_the_held_out_part():
    config = TrainConfig(data="swiss_roll")
    data = load(config.data)
    evaluator = make_evaluator(config, data, None)
    assert evaluator.metric == "sliced_wasserstein"
    assert evaluator.scores(data.held_out) == {"sliced_wasserstein": 0}
    assert 0 < baseline(config, data, None) < 0.03
    assert (
        evaluator.scores(data.train[:500])["sliced_wasserstein"]
        < evaluator.scores(2 * data.train[:500])["sliced_wasserstein"]
    )


def test_of_very_many_held_out_samples_one_in_so_many_stands_for_all():
    points = np.random.default_rng(3).standard_normal((MOST + 7, 2)).astype(np.float32)
    data = Dataset(name="many", train=points[:10], held_out=points, metric="sliced_wasserstein", licence="ours")
    config = TrainConfig(data="swiss_roll", metrics=("sliced_wasserstein",))
    found = make_evaluator(config, data, None)
    assert found.scores(points[::2]) == {"sliced_wasserstein": 0}
    assert 0 < found.scores(points)["sliced_wasserstein"] < 0.02


@pytest.mark.parametrize("name", ["digits", "ring8", "stacked_digits"])
def test_it_scores_data_of_every_kind(name):
    config = TrainConfig(data=name, metrics=("sliced_wasserstein",))
    data = load(config.data)
    evaluator = make_evaluator(config, data, b"no extractor")
    true, wrong = (evaluator.scores(s)["sliced_wasserstein"] for s in (data.train[:300], -0.5 * data.train[:300]))
    assert 0 < true < wrong


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_samples_that_are_not_finite_score_nan(value):
    assert np.isnan(score([[0.0, value], [0.0, 0.0]], np.zeros((3, 2))))


def test_huge_samples_have_a_huge_score():
    assert score(np.full((3, 2), 3e38), np.zeros((3, 2))) > 1e37


def test_one_score_is_the_same_in_each_call_and_draws_nothing():
    data = load(Params(name="ring8"))
    evaluator = scorer(data.held_out)
    before = np.random.get_state()[1].copy()
    assert evaluator.scores(data.train[:700]) == evaluator.scores(data.train[:700])
    assert (np.random.get_state()[1] == before).all()
