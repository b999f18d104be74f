"""The Frechet distance against closed forms and against SciPy."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.linalg import sqrtm

from trainers.evaluation.frechet import frechet_distance


def exactly(mean, covariance):
    """Return samples whose mean and unbiased covariance are exactly the given ones (to rounding)."""
    d = len(mean)
    corners = np.concatenate([np.eye(d), -np.eye(d)]) * np.sqrt((2 * d - 1) / 2)
    return corners @ np.linalg.cholesky(np.asarray(covariance, dtype=float)).T + mean


def test_diagonal_covariances_have_a_closed_form():
    a, b = np.array([1.0, 4.0, 9.0]), np.array([4.0, 0.25, 9.0])
    shift = np.array([1.0, -2.0, 0.5])
    expected = (shift**2).sum() + ((np.sqrt(a) - np.sqrt(b)) ** 2).sum()  # 8.5
    found = frechet_distance(exactly(np.zeros(3), np.diag(a)), exactly(shift, np.diag(b)))
    assert expected == 8.5
    assert found == pytest.approx(expected, rel=1e-12)


def test_two_dimensions_have_a_closed_form():
    a, b = np.array([[2.0, 1.0], [1.0, 3.0]]), np.array([[1.0, -0.5], [-0.5, 2.0]])
    product = a @ b  # tr sqrt(M) = sqrt(tr M + 2 sqrt(det M)) of a 2x2 matrix
    root = np.sqrt(np.trace(product) + 2 * np.sqrt(np.linalg.det(product)))
    found = frechet_distance(exactly(np.zeros(2), a), exactly(np.zeros(2), b))
    assert found == pytest.approx(np.trace(a) + np.trace(b) - 2 * root, rel=1e-12)


@pytest.mark.parametrize("d", [1, 5, 64])
def test_it_agrees_with_scipy(d):
    draw = np.random.default_rng(d)
    a = draw.standard_normal((300, d)) @ draw.standard_normal((d, d))
    b = draw.standard_normal((200, d)) @ draw.standard_normal((d, d)) + 1
    s, t = np.cov(a.T).reshape(d, d), np.cov(b.T).reshape(d, d)
    expected = ((a.mean(0) - b.mean(0)) ** 2).sum() + np.trace(s + t - 2 * sqrtm(s @ t).real)
    assert frechet_distance(a, b) == pytest.approx(expected, rel=1e-9)


@settings(max_examples=50, deadline=None)
@given(st.integers(2, 40), st.integers(1, 12), st.integers(1, 12), st.floats(1e-3, 1e3), st.integers(0, 2**32))
def test_properties(n, d, rank, scale, seed):
    """Singular covariances (n or rank below d) included."""
    draw = np.random.default_rng(seed)
    a, b = (scale * draw.standard_normal((n, rank)) @ draw.standard_normal((rank, d)) for _ in range(2))
    size = a.var(axis=0).sum() + b.var(axis=0).sum()
    assert 0 <= frechet_distance(a, a) <= 1e-12 * size
    assert frechet_distance(a, b) >= 0
    assert frechet_distance(a, b) == pytest.approx(frechet_distance(b, a), abs=1e-12 * size)
    assert frechet_distance(a, a + scale) == pytest.approx(d * scale**2, rel=1e-6)


def test_it_is_computed_in_double_precision():
    a = np.random.default_rng(0).standard_normal((100, 4)).astype(np.float32) + np.float32(1000)
    assert frechet_distance(a, a.astype(np.float64) + 1e-3) == pytest.approx(4e-6, rel=1e-3)


@pytest.mark.parametrize("bad", [np.zeros((1, 3)), np.zeros(3), np.full((5, 3), np.nan)])
def test_what_has_no_gaussian_is_refused(bad):
    with pytest.raises(ValueError, match="finite and"):
        frechet_distance(bad, np.zeros((5, 3)))
