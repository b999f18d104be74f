"""The log-likelihood under a kernel density estimate."""

import math

import numpy as np
import pytest
from sklearn.neighbors import KernelDensity

from trainers.evaluation.parzen import parzen


def draw(seed, n, d=2):
    return np.random.Generator(np.random.Philox(key=seed)).standard_normal((n, d))


@pytest.mark.parametrize("bandwidth", [0.2, 1.0])
def test_it_agrees_with_scikit_learn(bandwidth):
    samples, test = draw(1, 400), draw(2, 150)
    scores = KernelDensity(bandwidth=bandwidth, rtol=1e-10).fit(samples).score_samples(test)
    found = parzen(samples, test, test, [bandwidth])
    assert found["parzen"] == pytest.approx(scores.mean(), rel=1e-9)
    assert found["parzen_error"] == pytest.approx(scores.std(ddof=1) / math.sqrt(150), rel=1e-9)


def test_the_bandwidth_is_the_validation_datas_best():
    samples, validation, test = draw(1, 500), draw(2, 200), draw(3, 200)
    choices = (0.01, 0.3, 10.0)
    alone = {b: parzen(samples, validation, validation, [b])["parzen"] for b in choices}
    assert parzen(samples, validation, test, choices)["bandwidth"] == max(alone, key=alone.get) == 0.3


def test_it_is_below_the_entropy_of_the_truth_by_what_smoothing_costs():
    """Of many samples it is -E log of N(0, 1 + b^2) under N(0, 1), in two dimensions."""
    b = 0.5
    expected = -math.log(2 * math.pi * (1 + b**2)) - 1 / (1 + b**2)
    assert parzen(draw(1, 20_000), draw(2, 2000), draw(2, 2000), [b])["parzen"] == pytest.approx(expected, abs=0.1)
