"""What distances say of samples."""

import math

import numpy as np
import pytest

from trainers.data import Dataset
from trainers.evaluation import Evaluator
from trainers.evaluation.neighbours import Neighbours, neighbours_of


def draw(seed, n, centres=((0.0, 0.0),), std=1.0):
    rng = np.random.Generator(np.random.Philox(key=seed))
    chosen = np.array(centres)[rng.integers(len(centres), size=n)]
    return (chosen + std * rng.standard_normal((n, 2))).astype(np.float32)


FOUR = ((0.0, 0.0), (8.0, 0.0), (0.0, 8.0), (8.0, 8.0))


def dataset(train, held_out):
    return Dataset(name="ours", train=train, held_out=held_out, metric="none", licence="none needed")


@pytest.fixture(scope="module")
def neighbours():
    return Neighbours(dataset(draw(1, 3000, FOUR), draw(2, 500, FOUR)), None)


def test_samples_from_the_truth_are_near_and_new_and_everywhere(neighbours):
    for seed in range(10, 30):
        found = neighbours.values(draw(seed, 500, FOUR))
        assert found["energy"] < 0.01
        assert 0.8 < found["memorisation"] < 1.25
        assert found["dropped"] == 0


@pytest.mark.parametrize("left", [1, 2, 3])
def test_what_is_left_out_is_what_is_dropped(neighbours, left):
    shares = neighbours.values(draw(5, 500, FOUR[:left]))["dropped"]
    assert shares == pytest.approx(1 - left / 4, abs=0.06)


def test_copies_of_the_training_part_have_no_distance_from_it(neighbours):
    rows = draw(1, 3000, FOUR)[:500]
    assert neighbours.values(rows)["memorisation"] == 0
    assert neighbours.values(rows + np.float32(1e-3))["memorisation"] < 0.1


@pytest.mark.parametrize(("shift", "expected"), [(0.0, 0.0), (1e4, 1.0)])
def test_the_energy_distance_goes_from_nothing_to_one(neighbours, shift, expected):
    assert neighbours.values(draw(6, 500, FOUR) + np.float32(shift))["energy"] == pytest.approx(expected, abs=0.01)


def test_the_energy_distance_is_the_formula():
    """E / 2A = 1 - (E|x - x'| + E|y - y'|) / (2 E|x - y|) of three points and two."""
    held_out = np.array([[0.0], [1.0], [3.0]], dtype=np.float32)
    fakes = np.array([[0.0], [4.0]], dtype=np.float32)
    within, made = (1 + 3 + 2) / 3, 4.0
    between = (0 + 4 + 1 + 3 + 3 + 1) / 6
    found = Neighbours(dataset(held_out, held_out + 0.5), None).values(fakes)["energy"]
    assert found == pytest.approx(max(0, 1 - (within + made) / (2 * between)))


def test_many_numbers_a_sample_give_what_few_do():
    """Products of matrices round off: what they give is near what is exact."""
    wide = [np.concatenate((rows, np.zeros((len(rows), 30), dtype=np.float32)), axis=1) for rows in
            (draw(1, 900, FOUR), draw(2, 300, FOUR), draw(3, 300, FOUR[:2]))]  # fmt: skip
    exact = Neighbours(dataset(draw(1, 900, FOUR), draw(2, 300, FOUR)), None).values(draw(3, 300, FOUR[:2]))
    found = Neighbours(dataset(wide[0], wide[1]), None).values(wide[2])
    assert found == pytest.approx(exact, rel=0.02, abs=1e-3)


def test_samples_that_are_not_finite_and_data_that_are_one_point_have_no_distances(neighbours):
    broken = draw(7, 20)
    broken[3, 1] = np.nan
    point = Neighbours(dataset(np.zeros((9, 2), dtype=np.float32), np.zeros((5, 2), dtype=np.float32)), None)
    for found in (neighbours.values(broken), point.values(draw(7, 20))):
        assert all(math.isnan(value) for value in found.values())


def test_features_are_what_distances_are_taken_of_and_the_last_data_set_is_remembered():
    ours = dataset(draw(1, 50), draw(2, 50))
    evaluator = Evaluator(metric="m", shape=(2,), score=lambda _: {"m": 0.0}, features=lambda x: x[:, :1])
    one = neighbours_of(ours, evaluator)
    assert neighbours_of(ours, evaluator) is one
    far = draw(3, 50)
    far[:, 1] += 1e3
    assert one.values(far)["energy"] < 0.1
    other = Evaluator(metric="all", shape=(2,), score=lambda _: {"all": 0.0})
    assert neighbours_of(ours, other).values(far)["energy"] > 0.9
