"""MMD, energy distance and the nearest neighbour's test against closed forms and other implementations."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import energy_distance as scipy_energy
from sklearn.metrics.pairwise import rbf_kernel
from sklearn.neighbors import NearestNeighbors
from torchmetrics.image.kid import KernelInceptionDistance

from trainers.evaluation.discrepancy import (
    energy_distance,
    gaussian,
    kernel_distance,
    median_distance,
    mmd,
    polynomial,
    two_sample_accuracy,
)


def draw(seed, n, d, shift=0.0, scale=1.0):
    return shift + scale * np.random.Generator(np.random.Philox(key=seed)).standard_normal((n, d))


def test_the_gaussian_mmd_of_two_gaussians_has_a_closed_form():
    """Of N(0, 1) and N(m, 1) with bandwidth b: 2 b / sqrt(b^2 + 2) (1 - exp(-m^2 / 2 (b^2 + 2))).

    Of 4,000 samples of each its standard error is about 0.004 (seen over 20 seeds), and the bound is five of it.
    """
    b, m = 1.5, 1.0
    expected = 2 * b / math.sqrt(b**2 + 2) * (1 - math.exp(-(m**2) / (2 * (b**2 + 2))))
    found = mmd(draw(1, 4000, 1), draw(2, 4000, 1, shift=m), gaussian(b))
    assert found == pytest.approx(expected, abs=0.02)


@pytest.mark.parametrize("d", [1, 3])
def test_it_agrees_with_scikit_learns_kernel(d):
    x, y, b = draw(3, 40, d), draw(4, 30, d, shift=0.5), 0.8
    xx, yy, xy = (rbf_kernel(p, q, gamma=1 / (2 * b**2)) for p, q in ((x, x), (y, y), (x, y)))
    expected = (xx.sum() - 40) / (40 * 39) + (yy.sum() - 30) / (30 * 29) - 2 * xy.mean()
    assert mmd(x, y, gaussian(b)) == pytest.approx(expected, rel=1e-10)


@pytest.mark.filterwarnings("ignore:Metric `Kernel Inception Distance` will save")
def test_the_kernel_distance_agrees_with_torchmetrics():
    x, y = draw(5, 200, 12), draw(6, 200, 12, scale=1.5)
    features = torch.nn.Identity()
    features.num_features = 12
    theirs = KernelInceptionDistance(feature=features, subsets=1, subset_size=200).set_dtype(torch.float64)
    theirs.update(torch.from_numpy(y), real=True)
    theirs.update(torch.from_numpy(x), real=False)
    assert kernel_distance(x, y) == pytest.approx(float(theirs.compute()[0]), rel=1e-6)


def test_it_is_without_bias():
    """The mean over 400 pairs of 10 samples of one distribution is 0, within five standard errors."""
    found = [kernel_distance(draw(2 * s, 10, 4), draw(2 * s + 1, 10, 4)) for s in range(400)]
    assert abs(np.mean(found)) < 5 * np.std(found) / math.sqrt(len(found))


@pytest.mark.parametrize("scale", [1.0, 3.0])
def test_the_energy_distance_agrees_with_scipy(scale):
    """SciPy's is the root of the biased one: n samples' own distances are there counted with their zeros."""
    x, y = draw(7, 60, 1), draw(8, 50, 1, scale=scale)
    own = [np.abs(rows - rows.T).sum() for rows in (x, y)]
    bias = sum(s * (1 / n**2 - 1 / (n * (n - 1))) for s, n in zip(own, (60, 50), strict=True))
    assert energy_distance(x, y) == pytest.approx(scipy_energy(x[:, 0], y[:, 0]) ** 2 + bias, rel=1e-9)


def test_more_rows_than_a_block_give_what_one_block_gives(monkeypatch):
    x, y = draw(9, 2300, 2), draw(10, 1200, 2, shift=1)
    wide = torch.from_numpy(x), torch.from_numpy(y)
    pairs = [(torch.cdist(a, b) if a is not b else torch.cdist(a, a)) for a, b in zip(wide, wide, strict=True)]
    within = sum(float(p.sum()) / (len(p) * (len(p) - 1)) for p in pairs)
    expected = 2 * float(torch.cdist(*wide).mean()) - within
    assert energy_distance(x, y) == pytest.approx(expected, rel=1e-6)


def test_the_bandwidth_is_the_median_distance():
    assert median_distance(np.array([[0.0], [1.0], [3.0]])) == 2


def test_the_two_sample_test_agrees_with_scikit_learn():
    x, y = draw(11, 150, 3), draw(12, 150, 3, shift=0.7)
    both, labels = np.concatenate((x, y)), np.repeat([0, 1], 150)
    _, places = NearestNeighbors(n_neighbors=2).fit(both).kneighbors(both)
    right = labels[places[:, 1]] == labels
    found = two_sample_accuracy(x, y)
    assert found["accuracy"] == pytest.approx(right.mean())
    assert (found["accuracy_samples"], found["accuracy_others"]) == pytest.approx(
        (right[:150].mean(), right[150:].mean())
    )


def test_it_is_a_half_for_one_distribution_one_apart_and_none_for_copies():
    x = draw(13, 2500, 2)
    assert two_sample_accuracy(x, draw(14, 2500, 2))["accuracy"] == pytest.approx(0.5, abs=0.05)  # five standard errors
    assert two_sample_accuracy(x, x + 100)["accuracy"] == 1
    assert two_sample_accuracy(x, x)["accuracy"] == 0
    collapsed = two_sample_accuracy(draw(15, 500, 2, scale=1e-3), x[:500])
    assert collapsed["accuracy_samples"] > 0.95


@given(st.integers(2, 30), st.integers(2, 30), st.integers(1, 5), st.integers(0, 2**32))
def test_what_is_equal_is_at_no_distance_and_order_does_not_matter(n, m, d, seed):
    x, y = draw(seed, n, d), draw(seed + 1, m, d)
    for kernel in (polynomial, gaussian(1.0)):
        assert mmd(x, y, kernel) == pytest.approx(mmd(y[::-1], x, kernel), abs=1e-9)
    assert energy_distance(x, x) <= 1e-12  # its own rows are nearer than those of another draw would be


@pytest.mark.parametrize("bad", [np.zeros((1, 2)), np.full((4, 2), np.nan), np.zeros((4, 3))])
def test_what_cannot_be_compared_is_refused(bad):
    with pytest.raises(ValueError, match="samples must be finite"):
        kernel_distance(draw(1, 5, 2), bad)


def test_unequal_numbers_have_no_two_sample_test():
    with pytest.raises(ValueError, match="as many samples"):
        two_sample_accuracy(draw(1, 5, 2), draw(2, 6, 2))
