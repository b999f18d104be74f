"""The scores of stacked digits."""

import math

import numpy as np
import pytest

from trainers.config import TrainConfig
from trainers.data import load
from trainers.errors import DataError
from trainers.evaluation import make_evaluator
from trainers.evaluation.stacked import nearest, stacked_scores
from trainers.params.data import StackedDigitsParams
from trainers.registry import Params

CONFIG = TrainConfig(data="stacked_digits")


@pytest.fixture(scope="module")
def digits():
    return load(Params(name="digits"))


@pytest.fixture(scope="module")
def evaluator():
    return make_evaluator(CONFIG, load(CONFIG.data), None)


def stack(digits, *numbers):
    """Return stacks that make these numbers, of the first train digit of each class."""
    first = [digits.train[digits.train_labels == label][0, 0] for label in range(10)]
    return np.stack([[first[int(figure)] for figure in f"{number:03}"] for number in numbers])


def test_the_nearest_known_image_and_its_distance():
    known = np.array([[[0.0, 0.0]], [[3.0, 4.0]], [[10.0, 0.0]]])
    index, distance = nearest(np.array([[[0.0, 1.0]], [[3.0, 4.0]], [[9.0, 3.0]]]), known)
    assert index.tolist() == [0, 1, 2]
    assert distance == pytest.approx([1, 0, math.sqrt(10)])


def test_more_images_than_are_compared_at_a_time_keep_their_order():
    draw = np.random.default_rng(0)
    images, known = draw.normal(size=(4100, 1, 2, 2)), draw.normal(size=(9, 1, 2, 2))
    apart = np.linalg.norm((images[:, None] - known).reshape(4100, 9, 4), axis=2)
    index, distance = nearest(images, known)
    assert (index == apart.argmin(axis=1)).all()
    assert np.allclose(distance, apart.min(axis=1))


def test_scores_by_hand(digits, evaluator):
    """Four stacks of three modes, of shares 1/2, 1/4 and 1/4."""
    stacks = stack(digits, 123, 123, 321, 7)
    scores = evaluator.scores(stacks)
    apart = np.linalg.norm(stacks.reshape(12, 1, 64) - digits.held_out.reshape(1, -1, 64), axis=2)
    distance = apart.min(axis=1).mean()
    assert scores == {
        "stacked_modes": pytest.approx(0.5 * math.log(500) + 0.5 * math.log(250)),
        "modes": 3.0,
        "total_variation": pytest.approx(1 - 3 / 1000),
        "distance": pytest.approx(distance),
    }
    assert next(iter(scores)) == evaluator.metric == "stacked_modes"


def test_all_modes_once_are_the_truth_and_one_alone_the_worst(digits, evaluator):
    even = evaluator.scores(stack(digits, *range(1000)))
    assert even["stacked_modes"] == pytest.approx(0, abs=1e-12)
    assert (even["modes"], even["total_variation"]) == (1000, pytest.approx(0, abs=1e-12))
    one = evaluator.scores(stack(digits, *[555] * 50))
    assert one["stacked_modes"] == pytest.approx(math.log(1000))
    assert (one["modes"], one["total_variation"]) == (1, pytest.approx(0.999))


def test_held_out_stacks_are_told_apart_by_the_train_digits(evaluator):
    """A held-out digit's nearest train digit is of its class 98 times in 100; a stack's mode is right 94 times."""
    data = load(StackedDigitsParams())
    scores = evaluator.scores(data.held_out)
    expected = np.bincount(data.held_out_labels, minlength=1000)
    assert scores["modes"] == pytest.approx((expected > 0).sum(), abs=30)
    assert scores["stacked_modes"] == pytest.approx(999 / (2 * len(data.held_out)), rel=0.25)
    assert scores["distance"] == 0  # from themselves


def test_a_digit_that_was_trained_on_has_its_distance_from_those_that_were_not(digits, evaluator):
    repeated = stack(digits, *[555] * 50)
    assert 0.5 < evaluator.scores(repeated)["distance"] < 3.5


def test_noise_has_modes_but_is_far_from_every_digit(evaluator):
    draw = np.random.default_rng(0)
    scores = evaluator.scores(draw.uniform(-1, 1, (200, 3, 8, 8)).astype(np.float32))
    assert scores["modes"] > 1
    assert scores["distance"] > 4


def test_stacks_that_are_not_finite_score_nan(digits, evaluator):
    stacks = stack(digits, 1, 2)
    stacks[1, 2, 3, 4] = np.inf
    assert all(math.isnan(value) for value in evaluator.scores(stacks).values())


def test_other_data_are_refused_with_the_metric_that_suits_them(digits):
    with pytest.raises(DataError, match=r"digits: the stacked_modes metric needs stacked digits; .*\[frechet\]"):
        make_evaluator(TrainConfig(metrics=("stacked_modes",)), digits, None)


def test_labels_follow_the_digit_and_not_its_place(digits):
    """Known digits in another order, with their labels, make the same scores."""
    stacks = stack(digits, 17, 903, 903)
    order = np.random.default_rng(0).permutation(len(digits.train))
    scores, again = (
        stacked_scores(stacks, digits.train[rows], digits.train_labels[rows], digits.held_out)
        for rows in (slice(None), order)
    )
    assert again == pytest.approx(scores)
