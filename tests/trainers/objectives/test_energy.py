"""Objectives whose discriminator is an auto-encoder: EBGAN and BEGAN."""

import math

import numpy as np
import pytest
import torch

from tests.trainers.objectives.losses import P, Q, make, on_both
from trainers.objectives.ebgan import pulling_away


def column(*values):
    return torch.tensor(values, dtype=torch.float64).reshape(-1, 1)


@pytest.mark.parametrize("margin", [1.0, 10.0])
def test_ebgan_at_its_optimal_d_is_the_margin_where_the_densities_overlap(margin):
    """The optimal energy is 0 where p > q and the margin where p < q (lemma 1)."""
    losses = make("ebgan", margin=margin)
    best = np.where(P > Q, 0.0, margin)
    expected = margin * np.minimum(P, Q).sum()
    assert losses.d_loss(**on_both(best)).item() == pytest.approx(expected, abs=1e-12)
    for energy in np.random.Generator(np.random.Philox(key=2)).random((20, 4)) * 2 * margin:
        assert losses.d_loss(**on_both(energy)).item() > expected


@pytest.mark.parametrize("energy", [0.0, 0.4, 1.0])
def test_ebgan_at_its_equilibrium_is_the_margin(energy):
    """Where G generates the data, any constant energy up to the margin is a Nash equilibrium's (theorem 2)."""
    same = column(*[energy] * 5)
    assert make("ebgan", margin=1).d_loss(real=same, fake=same).item() == pytest.approx(1.0)


def test_ebgan_is_the_papers_formula():
    losses = make("ebgan", margin=3)
    assert losses.d_loss(real=column(1, 2), fake=column(2.5, 7)).item() == pytest.approx(1.5 + 0.5 / 2)
    assert losses.g_loss(fake=column(2.5, 7)).item() == pytest.approx(4.75)
    assert (losses.says, losses.error, losses.code) == ("energy", 2, 64)


def test_pulling_away_is_the_mean_squared_cosine_of_two_different_codes():
    codes = np.random.Generator(np.random.Philox(key=3)).standard_normal((7, 3))
    total = 0.0
    for i, one in enumerate(codes):
        for j, other in enumerate(codes):
            if i != j:
                total += (one @ other / np.linalg.norm(one) / np.linalg.norm(other)) ** 2
    assert pulling_away(torch.from_numpy(codes)).item() == pytest.approx(total / (7 * 6), abs=1e-9)


@pytest.mark.parametrize("degrees", [0, 60, 90, 135, 180])
def test_pulling_away_has_the_square_of_equation_14(degrees):
    angle = math.radians(degrees)
    codes = torch.tensor([[2.0, 0.0], [5 * math.cos(angle), 5 * math.sin(angle)]])
    assert pulling_away(codes).item() == pytest.approx(math.cos(angle) ** 2, abs=1e-6)


def test_pulling_away_pulls_apart():
    codes = torch.tensor([[1.0, 0.1], [1.0, -0.1]], requires_grad=True)
    (gradient,) = torch.autograd.grad(pulling_away(codes), codes)
    moved = (codes - 0.1 * gradient).detach()
    assert pulling_away(moved) < pulling_away(codes)


@pytest.mark.parametrize("codes", [torch.zeros(4, 3), torch.ones(1, 3), torch.full((4, 3), 1e8)])
def test_pulling_away_is_finite_for_codes_without_a_direction_and_for_one_alone(codes):
    codes = codes.clone().requires_grad_()
    value = pulling_away(codes)
    (gradient,) = torch.autograd.grad(value, codes)
    assert gradient.isfinite().all()
    assert value.item() == pytest.approx(1.0 if codes[0, 0] == 1e8 else 0.0, abs=1e-6)


def test_the_pulling_away_term_is_weighed_and_can_be_left_out():
    codes = torch.tensor([[1.0, 0.0], [1.0, 0.0]])
    assert make("ebgan", pull_away=0.3).of_code(codes).item() == pytest.approx(0.3)
    assert make("ebgan").of_code(codes).item() == pytest.approx(0.1)
    assert make("ebgan", pull_away=0).of_code is None


def test_pre_training_is_what_was_asked_for():
    assert make("ebgan").pretrain == 0
    assert make("ebgan", pretrain=5).pretrain == 5


def test_began_begins_with_a_plain_auto_encoder():
    losses = make("began")
    assert losses.d_loss(real=column(1, 3), fake=column(100)).item() == 2
    assert losses.g_loss(fake=column(1, 4)).item() == 2.5
    assert (losses.says, losses.error, losses.code) == ("energy", 1, 64)


def test_began_moves_its_weight_towards_the_balance():
    losses = make("began", gamma=0.5, lambda_k=0.1)
    losses.after(real=column(4, 6), fake=column(1, 2))
    assert losses.state.k.item() == pytest.approx(0.1 * (0.5 * 5 - 1.5))
    losses.after(real=column(2), fake=column(1.5))
    assert losses.state.k.item() == pytest.approx(0.1 - 0.05)
    assert losses.d_loss(real=column(2), fake=column(3)).item() == pytest.approx(2 - 0.05 * 3)


def test_began_is_at_rest_where_the_ratio_of_its_losses_is_gamma():
    losses = make("began", gamma=0.75, lambda_k=1)
    losses.state.k.fill_(0.5)
    losses.after(real=column(2, 6), fake=column(1, 5))
    assert losses.state.k.item() == 0.5


@pytest.mark.parametrize(("real", "fake", "end"), [(9.0, 0.0, 1.0), (0.0, 9.0, 0.0)])
def test_the_weight_of_began_stays_between_zero_and_one(real, fake, end):
    losses = make("began", lambda_k=1)
    for _ in range(3):
        losses.after(real=column(real), fake=column(fake))
    assert losses.state.k.item() == end


def test_two_trainings_share_no_weight():
    one, other = make("began"), make("began")
    one.after(real=column(5), fake=column(1))
    assert one.state.k > 0
    assert other.state.k == 0
    assert list(one.state.state_dict()) == ["k"]


@pytest.mark.parametrize("name", ["ebgan", "began"])
def test_the_code_is_as_wide_as_asked(name):
    assert make(name, code=5).code == 5
