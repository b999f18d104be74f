"""The table of f-divergences: conjugates, activations, and the divergence itself at the optimal D."""

import math
from statistics import NormalDist

import numpy as np
import pytest
import torch

from tests.trainers.objectives.losses import DIVERGENCES, P, Q, jsd, kl, make, on_both, slope_at
from trainers.objectives.divergences import BOUNDS

F = {
    "kl": lambda u: u * np.log(u),
    "reverse_kl": lambda u: -np.log(u),
    "pearson": lambda u: (u - 1) ** 2,
    "neyman": lambda u: (1 - u) ** 2 / u,
    "squared_hellinger": lambda u: (np.sqrt(u) - 1) ** 2,
    "jensen_shannon": lambda u: -(u + 1) * np.log((1 + u) / 2) + u * np.log(u),
    "gan": lambda u: u * np.log(u) - (u + 1) * np.log(u + 1),
    "total_variation": lambda u: np.abs(u - 1) / 2,
}
DOMAINS = {  # of the conjugate: the ends, which only that of the total variation holds itself
    "kl": (-math.inf, math.inf),
    "reverse_kl": (-math.inf, 0),
    "pearson": (-math.inf, math.inf),
    "neyman": (-math.inf, 1),
    "squared_hellinger": (-math.inf, 1),
    "jensen_shannon": (-math.inf, math.log(2)),
    "gan": (-math.inf, 0),
    "total_variation": (-0.5, 0.5),
}
# g_f^-1(f'(u)), worked out by hand; that of the total variation is at infinity, on the side of u - 1.
OPTIMAL = {
    "kl": lambda u: 1 + np.log(u),
    "reverse_kl": np.log,
    "pearson": lambda u: 2 * (u - 1),
    "neyman": lambda u: 2 * np.log(u),
    "squared_hellinger": lambda u: np.log(u) / 2,
    "jensen_shannon": np.log,
    "gan": np.log,
    "total_variation": lambda u: 100 * np.sign(u - 1),
}


def test_every_divergence_is_checked_here():
    assert set(DIVERGENCES) == set(BOUNDS) == set(F) == set(DOMAINS) == set(OPTIMAL)


@pytest.mark.parametrize("name", DIVERGENCES)
def test_the_conjugate_is_the_supremum_that_defines_it(name):
    points = torch.linspace(-2, 1.7, 38, dtype=torch.float64)
    activation, conjugate = BOUNDS[name].activation(points), BOUNDS[name].conjugate(points)
    u = np.exp(np.linspace(-12, 12, 40_001))  # the supremum lies within for these points
    for t, found in zip(activation.tolist(), conjugate.tolist(), strict=True):
        assert found == pytest.approx(float((u * t - F[name](u)).max()), abs=2e-5)


@pytest.mark.parametrize("name", DIVERGENCES)
def test_the_activations_range_is_within_the_conjugates_domain(name):
    low, high = DOMAINS[name]
    said = BOUNDS[name].activation(torch.linspace(-30, 30, 6001, dtype=torch.float64))
    assert low <= said.min()
    assert said.max() <= high
    assert (said.diff() >= 0).all()
    inside = BOUNDS[name].activation(torch.linspace(-5, 5, 101, dtype=torch.float64))
    assert low < inside.min()
    assert inside.max() < high


@pytest.mark.parametrize("name", DIVERGENCES)
def test_at_the_optimal_d_the_negated_loss_is_the_divergence(name):
    losses, best = make("f_gan", divergence=name), OPTIMAL[name](P / Q)
    divergence = float((Q * F[name](P / Q)).sum())
    assert -losses.d_loss(**on_both(best)).item() == pytest.approx(divergence, abs=1e-9)
    np.testing.assert_allclose(slope_at(losses, best), 0, atol=1e-9)
    for moved in (best * 0.9, best * 1.1 + 0.1) if name != "total_variation" else (best / 50,):
        assert -losses.d_loss(**on_both(moved)).item() < divergence


def test_the_divergences_are_those_of_their_names():
    """The total variation is half the L1 distance, and JS has no weights 1/2: it is twice the JSD."""
    found = {
        name: -make("f_gan", divergence=name).d_loss(**on_both(OPTIMAL[name](P / Q))).item() for name in DIVERGENCES
    }
    assert found == pytest.approx(
        {
            "kl": kl(P, Q),
            "reverse_kl": kl(Q, P),
            "pearson": ((P - Q) ** 2 / Q).sum(),
            "neyman": ((P - Q) ** 2 / P).sum(),
            "squared_hellinger": ((np.sqrt(P) - np.sqrt(Q)) ** 2).sum(),
            "jensen_shannon": 2 * jsd(P, Q),
            "gan": 2 * jsd(P, Q) - 2 * math.log(2),
            "total_variation": abs(P - Q).sum() / 2,
        },
        abs=1e-9,
    )


SHIFT = 0.5  # of N(SHIFT, 1) against N(0, 1)
GAUSSIAN = {
    "kl": SHIFT**2 / 2,
    "reverse_kl": SHIFT**2 / 2,
    "squared_hellinger": 2 - 2 * math.exp(-(SHIFT**2) / 8),
    "total_variation": 2 * NormalDist().cdf(SHIFT / 2) - 1,
}


@pytest.mark.parametrize("name", GAUSSIAN)
def test_at_the_optimal_d_two_gaussians_have_the_known_divergence(name):
    quantiles = np.array(list(map(NormalDist().inv_cdf, (np.arange(40_000) + 0.5) / 40_000)))
    said = {
        side: torch.from_numpy(OPTIMAL[name](np.exp(SHIFT**2 / 2 - SHIFT * x))).reshape(-1, 1)
        for side, x in (("real", quantiles), ("fake", quantiles + SHIFT))
    }
    assert -make("f_gan", divergence=name).d_loss(**said).item() == pytest.approx(GAUSSIAN[name], abs=1e-4)


@pytest.mark.parametrize(("kind", "twin"), [("strict", "minimax"), ("practical", "non_saturating")])
def test_the_gan_divergence_is_the_game_of_that_name(kind, twin):
    real, fake = (torch.tensor(said).reshape(-1, 1) for said in ([1.0, -3.0], [0.5, 40.0]))
    losses, known = make("f_gan", divergence="gan", generator=kind), make(twin)
    assert losses.d_loss(real=real, fake=fake) == known.d_loss(real=real, fake=fake)
    assert losses.g_loss(fake=fake) == known.g_loss(fake=fake)


@pytest.mark.parametrize("name", DIVERGENCES)
def test_g_strictly_minimises_what_d_maximises(name):
    losses = make("f_gan", divergence=name, generator="strict")
    fake = torch.tensor([[0.3], [-1.2]])
    real = torch.tensor([[0.7], [2.0]])
    assert losses.g_loss(fake=fake) == -losses.terms[1](fake).mean()
    assert make("f_gan", divergence=name).g_loss(fake=fake) == losses.terms[0](fake).mean()
    assert losses.d_loss(real=real, fake=fake).isfinite()
