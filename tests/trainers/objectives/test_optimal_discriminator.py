"""At the optimal discriminator each loss is the divergence, the distance or the value that its paper states."""

import math
from itertools import product
from statistics import NormalDist

import numpy as np
import pytest
import torch

from tests.trainers.objectives.losses import FAKE_ROWS, REAL_ROWS, P, Q, jsd, kl, make, on_both, rows, slope_at

TV = float(abs(P - Q).sum() / 2)
LOG2 = math.log(2)


def column(values):
    return torch.as_tensor(np.asarray(values), dtype=torch.float64).reshape(-1, 1)


def normals(mean, count=40_000):
    """Return the quantiles of N(mean, 1) in equal steps: a mean over them is an expectation."""
    return mean + np.array(list(map(NormalDist().inv_cdf, (np.arange(count) + 0.5) / count)))


@pytest.mark.parametrize("name", ["minimax", "non_saturating", "maximum_likelihood"])
def test_the_gan_games_are_worth_twice_the_jsd_less_two_log_two(name):
    losses, best = make(name), np.log(P / Q)  # D* = p / (p + q)
    assert -losses.d_loss(**on_both(best)).item() == pytest.approx(2 * jsd(P, Q) - 2 * LOG2, abs=1e-12)
    np.testing.assert_allclose(slope_at(losses, best), 0, atol=1e-12)
    assert losses.d_loss(**on_both(np.zeros(4))).item() == pytest.approx(2 * LOG2)


@pytest.mark.parametrize("t", [-2.0, -0.5, 0.0, 0.25, 0.5, 1.0, 3.0])
def test_uniform_distributions_that_are_shifted(t):
    """U[0, 1] against U[t, t + 1]: the JSD is min(|t|, 1) log 2, Wasserstein's distance |t|, and TV min(|t|, 1)."""
    real = (np.arange(1000) + 0.5) / 1000
    fake = real + t

    def of(x):  # log p / q
        inside_p, inside_q = (x > 0) & (x < 1), (x > t) & (x < t + 1)
        return 100.0 * (inside_p.astype(float) - inside_q.astype(float))

    said = {"real": column(of(real)), "fake": column(of(fake))}
    critic = {"real": column(-np.sign(t) * real), "fake": column(-np.sign(t) * fake)}
    overlap = min(abs(t), 1)
    assert LOG2 - make("minimax").d_loss(**said).item() / 2 == pytest.approx(overlap * LOG2, abs=1e-4)
    assert -make("f_gan", divergence="jensen_shannon").d_loss(**said).item() == pytest.approx(
        2 * overlap * LOG2, abs=1e-4
    )
    assert -make("wasserstein").d_loss(**critic).item() == pytest.approx(abs(t), abs=1e-4)
    assert 1 - make("hinge").d_loss(**{k: v.sign() for k, v in said.items()}).item() / 2 == pytest.approx(overlap)


def test_the_wasserstein_distance_of_two_gaussians_is_that_of_their_means():
    losses, real, fake = make("wasserstein"), normals(0.0), normals(1.5)
    assert -losses.d_loss(real=column(-real), fake=column(-fake)).item() == pytest.approx(1.5, abs=1e-4)
    for slope in (lambda x: -np.abs(x), lambda x: -np.sin(x), lambda x: -np.clip(x, -1, 2)):  # 1-Lipschitz, no better
        assert -losses.d_loss(real=column(slope(real)), fake=column(slope(fake))).item() < 1.5


def test_the_jsd_of_two_gaussians():
    real, fake, losses = normals(0.0), normals(1.0), make("non_saturating")
    said = {"real": column(0.5 - real), "fake": column(0.5 - fake)}  # log p / q of N(0, 1) and N(1, 1)
    x = np.linspace(-10, 11, 200_001)
    p, q = (np.exp(-((x - mean) ** 2) / 2) / math.sqrt(2 * math.pi) for mean in (0, 1))
    divergence = (p * np.log(2 * p / (p + q)) + q * np.log(2 * q / (p + q))).sum() / 2 * (x[1] - x[0])
    assert LOG2 - losses.d_loss(**said).item() / 2 == pytest.approx(divergence, abs=1e-4)


def test_least_squares_with_minus_one_one_zero_is_pearsons_chi_squared():
    losses = make("least_squares", a=-1, b=1, c=0)
    best = (P - Q) / (P + Q)  # (b p + a q) / (p + q)
    np.testing.assert_allclose(slope_at(losses, best), 0, atol=1e-12)
    said = on_both(best)
    cost = losses.g_loss(fake=said["fake"]) + losses.g_loss(fake=said["real"])  # the paper's C(G), eq. 6
    chi_squared = ((2 * Q - (P + Q)) ** 2 / (P + Q)).sum()
    assert 2 * cost.item() == pytest.approx(chi_squared, abs=1e-12)


def test_least_squares_with_labels_of_zero_and_one_at_its_optimum():
    losses, best = make("least_squares"), P / (P + Q)
    np.testing.assert_allclose(slope_at(losses, best), 0, atol=1e-12)
    assert losses.d_loss(**on_both(best)).item() == pytest.approx((P * Q / (P + Q)).sum() / 2, abs=1e-12)
    assert losses.d_loss(**on_both(np.full(4, 0.5))).item() == 0.25  # (b - a)^2 / 4, where D cannot tell
    assert losses.g_loss(fake=column([0.5, 0.0])).item() == pytest.approx((0.25 + 1) / 4)


def test_the_hinge_loss_is_two_less_twice_the_total_variation():
    losses, best = make("hinge"), np.sign(P - Q)
    assert losses.d_loss(**on_both(best)).item() == pytest.approx(2 - 2 * TV, abs=1e-12)
    others = [losses.d_loss(**on_both(np.array(said))).item() for said in product((-2, -1, 0, 1, 2), repeat=4)]
    assert min(others) == pytest.approx(2 - 2 * TV)


def test_the_relativistic_loss_is_log_two_less_the_jsd_of_the_pairs():
    """Of real with generated samples against generated with real ones: p x q and q x p, independent in a pair."""
    losses, best = make("relativistic"), np.log(P / Q)
    said = torch.tensor(best, requires_grad=True)
    real, fake = (side.flatten() for side in (rows(range(4), REAL_ROWS).long(), rows(range(4), FAKE_ROWS).long()))
    pairs = torch.cartesian_prod(real, fake)
    loss = losses.d_loss(real=said[pairs[:, :1]], fake=said[pairs[:, 1:]])
    one, other = np.outer(P, Q).ravel(), np.outer(Q, P).ravel()
    assert loss.item() == pytest.approx(LOG2 - jsd(one, other), abs=1e-12)
    np.testing.assert_allclose(torch.autograd.grad(loss, said)[0].numpy(), 0, atol=1e-12)
    assert losses.d_loss(real=column([3.0]), fake=column([3.0])).item() == pytest.approx(LOG2)


def test_maximum_likelihood_has_half_the_gradient_of_the_kl_divergence():
    """As the gradient by q's own parameters, on a discrete space with q = softmax(theta)."""
    losses, ratios = make("maximum_likelihood"), np.log(P / Q)
    costs = np.array([losses.g_loss(fake=column([ratio])).item() for ratio in ratios])
    scores = np.eye(4) - Q  # of log q(x) by theta, a row a point
    found = (Q * costs) @ scores
    np.testing.assert_allclose(found, -(P @ scores) / 2, atol=1e-12)  # KL(p || q) by theta, halved
    assert kl(P, Q) > 0


def test_maximum_likelihood_has_half_the_gradient_of_the_kl_divergence_through_samples():
    """Between N(0, 1) and G(z) = theta + z, whose KL divergence theta^2 / 2 has the gradient theta."""
    theta = torch.tensor(0.5, dtype=torch.float64, requires_grad=True)
    fixed = theta.item()
    logits = fixed**2 / 2 - fixed * (theta + column(normals(0.0)))  # of the D that is optimal for the fakes as they are
    (found,) = torch.autograd.grad(make("maximum_likelihood").g_loss(fake=logits), theta)
    assert found.item() == pytest.approx(fixed / 2, abs=1e-4)


def test_g_of_minimax_follows_the_jsd_where_d_is_optimal():
    """By q's own parameters: the gradient of 2 JSD(p, q), since D's own moves count for nothing at its optimum."""
    costs = np.array([make("minimax").g_loss(fake=column([ratio])).item() for ratio in np.log(P / Q)])
    scores = np.eye(4) - Q

    def doubled(theta):
        q = np.exp(theta) / np.exp(theta).sum()
        return 2 * jsd(P, q)

    theta, step = np.log(Q), 1e-6
    numeric = [(doubled(theta + step * axis) - doubled(theta - step * axis)) / (2 * step) for axis in np.eye(4)]
    np.testing.assert_allclose((Q * costs) @ scores, numeric, atol=1e-8)


def points_and_pairs(real, fake):
    """Return every pair of two sets of points on a line, as two columns."""
    one, two = np.meshgrid(real, fake, indexing="ij")
    return column(one), column(two)


def test_ls_gan_at_its_optimum_is_the_mean_margin_less_wassersteins_distance():
    """With L 1-Lipschitz in Delta, no pair is inside its margin, so that D's loss is E Delta - (E L(G) - E L(x))."""
    losses, grid = make("loss_sensitive"), (np.arange(100) + 0.5) / 100
    for t in (0.0, 0.5, 2.0):
        real, fake = points_and_pairs(grid, grid + t)
        margin = losses.margin(real, fake)
        loss = losses.d_loss(real=real, fake=fake, margin=margin)  # L(x) = x
        assert loss.item() == pytest.approx(margin.mean().item() - t, abs=1e-12)
    assert losses.d_loss(real=real, fake=fake, margin=margin).item() == pytest.approx(0, abs=1e-12)  # t = 2: D has won


def test_ls_gan_cannot_win_against_the_data_themselves():
    losses, grid = make("loss_sensitive"), (np.arange(40) + 0.5) / 40
    real, fake = points_and_pairs(grid, grid)
    margin = losses.margin(real, fake)
    rng = np.random.Generator(np.random.Philox(key=1))
    for _ in range(20):
        table = rng.standard_normal(40)  # any L at all
        on_real, on_fake = points_and_pairs(table, table)
        assert losses.d_loss(real=on_real, fake=on_fake, margin=margin).item() >= margin.mean().item() - 1e-12
    constant = torch.zeros_like(real)
    assert losses.d_loss(real=constant, fake=constant, margin=margin).item() == pytest.approx(margin.mean().item())


@pytest.mark.parametrize(("distance", "expected"), [("sum", [6.0, 1.5]), ("mean", [1.5, 0.375])])
def test_the_margin_is_the_l1_distance_of_each_pair(distance, expected):
    losses = make("loss_sensitive", distance=distance, tau=0.5)
    real = torch.tensor([[[1.0, 2.0], [3.0, 4.0]], [[0.0, 0.0], [0.0, 0.0]]])
    fake = torch.tensor([[[-1.0, -1.0], [0.0, 0.0]], [[-1.0, 0.5], [0.5, 1.0]]], requires_grad=True)
    margin = losses.margin(real, fake)
    assert margin.shape == (2, 1)
    assert margin.flatten().tolist() == pytest.approx(expected)
    assert not margin.requires_grad


def test_ls_gan_weighs_the_loss_of_real_samples_by_gamma():
    losses = make("loss_sensitive", gamma=0.25)
    said = {"real": column([2.0, 4.0]), "fake": column([1.0, 9.0]), "margin": column([0.5, 1.0])}
    assert losses.d_loss(**said).item() == pytest.approx(0.25 * 3 + (1.5 + 0) / 2)
    assert losses.g_loss(fake=said["fake"]).item() == 5
