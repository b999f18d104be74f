"""Bins that differ, and the divergence of two histograms."""

import math

import numpy as np
import pytest
from scipy.spatial.distance import jensenshannon
from scipy.stats import chi2_contingency

from trainers.evaluation.bins import ndb

FOUR = np.array([[0, 0], [9, 0], [0, 9], [9, 9]])


def draw(seed, n, centres=FOUR, p=None):
    rng = np.random.Generator(np.random.Philox(key=seed))
    return centres[rng.choice(len(centres), size=n, p=p)] + 0.1 * rng.standard_normal((n, 2))


def test_lost_and_favoured_modes_are_bins_that_differ():
    found = ndb(draw(1, 800, p=[0.5, 0.25, 0.25, 0]), draw(2, 1000), bins=4, seed=0)
    assert found["ndb"] == 0.5
    assert found["bins_js"] > 0.05
    assert ndb(draw(1, 800), draw(2, 1000), bins=4, seed=0)["bins_js"] < 0.01


def test_a_bins_test_is_the_chi_squared_test_of_its_table():
    """The two-proportion z-test with pooled variance is the chi-squared test of a table of four without correction."""
    real, fake = draw(3, 400, p=[0.25, 0.25, 0.25, 0.25]), draw(4, 300, p=[0.33, 0.27, 0.2, 0.2])
    counts = [[(np.linalg.norm(rows - centre, axis=1) < 4).sum() for rows in (real, fake)] for centre in FOUR]
    levels = [chi2_contingency([[a, 400 - a], [b, 300 - b]], correction=False).pvalue for a, b in counts]
    for level in (0.5, 0.05, 0.01, 1e-4):
        assert ndb(fake, real, bins=4, seed=0, level=level)["ndb"] == np.mean([p < level for p in levels])
    p, q = (np.array(counts) / [400, 300]).T
    assert ndb(fake, real, bins=4, seed=0)["bins_js"] == pytest.approx(jensenshannon(p, q) ** 2)


def test_of_the_truth_about_the_level_differs():
    """Over 40 draws of 20 bins, 5 % are expected; 10 % would be 6 standard errors away were bins independent."""
    rng = [np.random.Generator(np.random.Philox(key=seed)).standard_normal((1000, 2)) for seed in range(80)]
    shares = [ndb(fake, real, bins=20, seed=0)["ndb"] for fake, real in zip(rng[::2], rng[1::2], strict=True)]
    assert 0.01 < np.mean(shares) < 0.1


def test_separate_histograms_are_a_log_2_apart():
    assert ndb(draw(1, 100, FOUR[:1]), draw(2, 100, FOUR[1:]), bins=3, seed=0)["bins_js"] <= math.log(2)


@pytest.mark.parametrize("bad", [np.zeros((3, 2)), np.full((300, 2), np.inf)])
def test_too_few_rows_and_what_is_not_finite_are_refused(bad):
    with pytest.raises(ValueError, match="ndb needs finite samples"):
        ndb(draw(1, 10), bad, bins=4, seed=0)
