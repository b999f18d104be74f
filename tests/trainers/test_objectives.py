"""Losses as functions of logits: values, gradients at the extremes, shapes."""

import math
from typing import get_type_hints

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from jaxtyping import Float, jaxtyped
from torch import Tensor

from trainers.objectives import non_saturating, wasserstein
from trainers.registry import Params, find, known

NAMES = [variant.name for variant in known("objective")]
EXTREMES = [-100.0, -30.0, -1.0, 0.0, 1.0, 30.0, 100.0]


def objective(name):
    return find("objective", name).load_make()(Params(name=name))


def column(*values):
    return torch.tensor(values, dtype=torch.float32).reshape(-1, 1).requires_grad_(True)


def sigmoid(x):
    return 1 / (1 + math.exp(-x))


def gradient(loss, logits):
    return torch.autograd.grad(loss, logits)[0].flatten().tolist()


def test_the_non_saturating_losses_where_d_cannot_tell():
    losses = objective("non_saturating")
    assert losses.d_loss(real=column(0, 0), fake=column(0, 0)).item() == pytest.approx(2 * math.log(2), rel=1e-6)
    assert losses.g_loss(column(0, 0, 0)).item() == pytest.approx(math.log(2), rel=1e-6)


def test_the_non_saturating_losses_are_the_papers_formula():
    losses = objective("non_saturating")
    expected = -(math.log(sigmoid(2)) + math.log(sigmoid(-1))) / 2 - math.log(1 - sigmoid(0.5))
    assert losses.d_loss(real=column(2, -1), fake=column(0.5, 0.5)).item() == pytest.approx(expected, rel=1e-6)
    assert losses.g_loss(column(0.5)).item() == pytest.approx(-math.log(sigmoid(0.5)), rel=1e-6)


def test_the_wasserstein_losses_have_their_signs():
    losses = objective("wasserstein")
    assert losses.d_loss(real=column(4, 6), fake=column(1, 3)).item() == -3
    assert losses.g_loss(column(1, 3)).item() == -2
    assert losses.d_loss(real=column(1), fake=column(1)).item() == 0


@pytest.mark.parametrize("at", EXTREMES)
def test_non_saturating_gradients_are_the_formula_at_the_extremes(at):
    losses = objective("non_saturating")
    logits = column(at, at, at, at)
    other = column(0, 0, 0, 0)
    on_real = gradient(losses.d_loss(real=logits, fake=other), logits)
    on_fake = gradient(losses.d_loss(real=other, fake=logits), logits)
    of_g = gradient(losses.g_loss(logits), logits)
    # abs: softplus is linear in float32 beyond 20, where the formula is 2e-9 away
    assert on_real == pytest.approx([-sigmoid(-at) / 4] * 4, rel=1e-5, abs=1e-9)
    assert on_fake == pytest.approx([sigmoid(at) / 4] * 4, rel=1e-5, abs=1e-9)
    assert of_g == pytest.approx([-sigmoid(-at) / 4] * 4, rel=1e-5, abs=1e-9)
    values = [losses.d_loss(real=logits, fake=logits), losses.g_loss(logits)]
    assert all(math.isfinite(value.item()) for value in values)


@pytest.mark.parametrize("batch", [1, 8])
def test_g_still_learns_where_d_is_sure_of_its_fakes(batch):
    logits = column(*[-30.0] * batch)
    assert gradient(objective("non_saturating").g_loss(logits), logits) == pytest.approx([-1 / batch] * batch)


@pytest.mark.parametrize("at", EXTREMES)
def test_wasserstein_gradients_do_not_depend_on_the_logit(at):
    losses, logits, other = objective("wasserstein"), column(at, at), column(0, 0)
    assert gradient(losses.d_loss(real=logits, fake=other), logits) == [-0.5, -0.5]
    assert gradient(losses.d_loss(real=other, fake=logits), logits) == [0.5, 0.5]
    assert gradient(losses.g_loss(logits), logits) == [-0.5, -0.5]


logit = st.floats(-1e4, 1e4, width=32)


@given(st.lists(st.tuples(logit, logit), min_size=1, max_size=8))
def test_d_loss_is_never_below_its_floor(pairs):
    losses = objective("non_saturating")
    real, fake = zip(*pairs, strict=True)
    assert losses.d_loss(real=column(*real), fake=column(*fake)).item() >= losses.d_floor


def test_the_floor_is_reached_where_d_wins_and_a_critic_has_none():
    losses = objective("non_saturating")
    assert losses.d_loss(real=column(100), fake=column(-100)).item() == pytest.approx(losses.d_floor, abs=1e-30)
    assert objective("wasserstein").d_floor is None


@pytest.mark.parametrize("function", [f for m in (non_saturating, wasserstein) for f in (m.d_loss, m.g_loss)])
def test_the_annotated_shapes_are_the_real_ones(function):
    hints = get_type_hints(function, localns={"Float": Float, "Tensor": Tensor})
    returned = hints.pop("return")
    given_ = {name: column(1, 2, 3) for name in hints}
    with jaxtyped("context"):
        assert all(isinstance(given_[name], hint) for name, hint in hints.items())
        assert isinstance(function(**given_), returned)
    for hint in hints.values():
        with jaxtyped("context"):
            assert not isinstance(torch.zeros(3), hint), "logits without their last axis would be broadcast"


@pytest.mark.parametrize("name", NAMES)
def test_an_objective_is_found_by_its_name(name):
    losses = objective(name)
    assert losses.d_loss(real=column(1), fake=column(0)).shape == ()
    assert losses.g_loss(column(1)).shape == ()
