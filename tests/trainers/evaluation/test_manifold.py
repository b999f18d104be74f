"""Precision, recall, density and coverage against other implementations and what the truth has."""

import numpy as np
import pytest
from sklearn.neighbors import NearestNeighbors

from trainers.evaluation.manifold import density_coverage, precision_recall


def draw(seed, n, d=2, shift=0.0):
    return shift + np.random.Generator(np.random.Philox(key=seed)).standard_normal((n, d))


def inside(rows, others, k):
    """Whether each row lies in each neighbourhood of the others, by scikit-learn and numpy."""
    radius = NearestNeighbors(n_neighbors=k + 1).fit(others).kneighbors(others)[0][:, -1]
    return np.linalg.norm(rows[:, None] - others[None], axis=2) <= radius * (1 + 1e-12)


@pytest.mark.parametrize("k", [3, 5])
def test_precision_and_recall_are_shares_inside_of_neighbourhoods(k):
    fake, real = draw(1, 300, 4, shift=0.8), draw(2, 250, 4)
    expected = {
        "precision": inside(fake, real, k).any(axis=1).mean(),
        "recall": inside(real, fake, k).any(axis=1).mean(),
    }
    assert precision_recall(fake, real, k) == pytest.approx(expected)
    assert 0.2 < expected["precision"] < 0.98
    assert 0.2 < expected["recall"] < 0.98


def test_density_and_coverage_are_counts_of_neighbourhoods():
    fake, real, k = draw(3, 200, shift=0.5), draw(4, 150), 5
    found = density_coverage(fake, real, k)
    assert found["density"] == pytest.approx(inside(fake, real, k).sum() / (k * 200))
    assert found["coverage"] == pytest.approx(inside(fake, real, k).any(axis=0).mean())


@pytest.mark.parametrize("k", [3, 5])
def test_the_truth_has_what_the_paper_says(k):
    """Expected density 1, and coverage 1 - prod (m - i) / (2 m - i) for n = m (Naeem et al. 2020, lemmas 1 and 2).

    Over 20 pairs of 500 samples; the bounds are five standard errors of these means (0.004 and 0.003, seen).
    """
    m = 500
    expected = 1 - np.prod([(m - i) / (2 * m - i) for i in range(1, k + 1)])
    found = [density_coverage(draw(2 * s, m), draw(2 * s + 1, m), k) for s in range(20)]
    assert np.mean([one["density"] for one in found]) == pytest.approx(1, abs=0.03)
    assert np.mean([one["coverage"] for one in found]) == pytest.approx(expected, abs=0.015)


def test_lost_modes_cost_recall_and_coverage_and_not_precision_and_density():
    real = np.concatenate((draw(5, 500), draw(6, 500, shift=20)))
    one_mode = draw(7, 1000)
    assert precision_recall(one_mode, real)["precision"] > 0.9
    assert precision_recall(one_mode, real)["recall"] < 0.55
    found = density_coverage(one_mode, real)
    assert found["density"] > 0.9
    assert found["coverage"] < 0.55


def test_more_neighbours_than_samples_are_refused():
    with pytest.raises(ValueError, match="k must be less than the number of samples, but got k=5 of 5"):
        density_coverage(draw(1, 5), draw(2, 5), 5)
