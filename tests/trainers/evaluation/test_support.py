"""The size of a generator's support, by samples that coincide."""

import math

import numpy as np
import pytest

from trainers.evaluation.support import support_size


def drawn(seed, n, of, p=None):
    rng = np.random.Generator(np.random.Philox(key=seed))
    return rng.choice(of, size=n, p=p)[:, None] * 10.0 + 0.1 * rng.random((n, 1))


def test_a_uniform_generator_has_its_number_of_samples():
    """Of 2,000 draws over 1,000 there are about 2,000 pairs, with a standard error of 45: five are 11 %."""
    assert support_size(drawn(1, 2000, 1000), 1.0)["support"] == pytest.approx(1000, rel=0.12)


def test_one_that_favours_some_has_fewer():
    p = np.concatenate((np.full(10, 0.09), np.full(990, 0.1 / 990)))
    expected = 1 / (p**2).sum()
    assert support_size(drawn(2, 2000, 1000, p), 1.0)["support"] == pytest.approx(expected, rel=0.1)


def test_samples_that_are_all_different_have_no_bound_and_copies_have_one():
    rows = np.arange(50.0)[:, None]
    assert support_size(rows, 0.5) == {"support": math.inf, "twins": 0.0}
    assert support_size(np.zeros((50, 3)), 0.5) == {"support": 1.0, "twins": 1.0}
