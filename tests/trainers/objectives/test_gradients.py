"""Gradients at the extremes are those of the formulas, whose derivatives are written here by hand, in float64."""

import math

import pytest
import torch

from tests.trainers.objectives.losses import NAMES, make
from trainers.objectives import Objective
from trainers.objectives.continued import LIMIT, exp

EXTREMES = [-100.0, -30.0, -1.5, 0.0, 0.5, 30.0, 100.0]
MARGIN, K = 2.25, 0.3


def sigmoid(x):
    return 1 / (1 + math.exp(-x)) if x > -500 else 0.0


def up_to_40(x):
    return math.exp(min(x, 40.0))


# What D's loss gains by what D says of a real (r) and of a generated sample (f), and G's loss by f and, in pairs, by r.
FORMULAS = {
    "non_saturating": (lambda r, f: -sigmoid(-r), lambda r, f: sigmoid(f), lambda r, f: -sigmoid(-f)),
    "minimax": (lambda r, f: -sigmoid(-r), lambda r, f: sigmoid(f), lambda r, f: -sigmoid(f)),
    "maximum_likelihood": (lambda r, f: -sigmoid(-r), lambda r, f: sigmoid(f), lambda r, f: -up_to_40(f) / 2),
    "wasserstein": (lambda r, f: -1, lambda r, f: 1, lambda r, f: -1),
    "least_squares": (lambda r, f: r - 1, lambda r, f: f, lambda r, f: f - 1),
    "hinge": (lambda r, f: -float(r < 1), lambda r, f: float(f > -1), lambda r, f: -1),
    "relativistic": (lambda r, f: -sigmoid(f - r), lambda r, f: sigmoid(f - r), lambda r, f: -sigmoid(r - f)),
    "ebgan": (lambda r, f: 1, lambda r, f: -float(f < 0.1), lambda r, f: 1),
    "began": (lambda r, f: 1, lambda r, f: -K, lambda r, f: 1),
    "loss_sensitive": (
        lambda r, f: 0.5 + float(MARGIN + r - f > 0),
        lambda r, f: -float(MARGIN + r - f > 0),
        lambda r, f: 1,
    ),
}
# g_f'(v), and the derivative of f*(g_f(v)) by v.
SLOPES = {
    "kl": (lambda v: 1, lambda v: up_to_40(v - 1)),
    "reverse_kl": (lambda v: up_to_40(-v), lambda v: 1),
    "pearson": (lambda v: 1, lambda v: v / 2 + 1),
    "neyman": (lambda v: up_to_40(-v), lambda v: up_to_40(-v / 2)),
    "squared_hellinger": (lambda v: up_to_40(-v), up_to_40),
    "jensen_shannon": (lambda v: sigmoid(-v), sigmoid),
    "gan": (lambda v: sigmoid(-v), sigmoid),
    "total_variation": (lambda v: 0.5 / math.cosh(v) ** 2, lambda v: 0.5 / math.cosh(v) ** 2),
}
CHOSEN = {"loss_sensitive": {"gamma": 0.5}}


def cases():
    for name, (by_real, by_fake, of_g) in FORMULAS.items():
        yield pytest.param(name, CHOSEN.get(name, {}), by_real, by_fake, of_g, id=name)
    for divergence, (activation, conjugate) in SLOPES.items():
        for kind, of_g in (("strict", conjugate), ("practical", activation)):
            yield pytest.param(
                "f_gan",
                {"divergence": divergence, "generator": kind},
                lambda r, f, slope=activation: -slope(r),
                lambda r, f, slope=conjugate: slope(f),
                lambda r, f, slope=of_g: -slope(f),
                id=f"{divergence}-{kind}",
            )


def test_every_game_has_its_derivatives_here():
    assert {name for name in NAMES if isinstance(make(name), Objective)} == {*FORMULAS, "f_gan"}


@pytest.mark.parametrize(("name", "params", "by_real", "by_fake", "of_g"), list(cases()))
def test_gradients_are_the_formula_at_the_extremes(name, params, by_real, by_fake, of_g):
    losses = make(name, **params)
    if losses.state is not None:
        losses.state.k.fill_(K)
    for r in EXTREMES:
        for f in EXTREMES:
            real, fake = (torch.full((4, 1), at, requires_grad=True) for at in (r, f))
            margin = {} if losses.margin is None else {"margin": torch.full((4, 1), MARGIN)}
            d = torch.autograd.grad(losses.d_loss(real=real, fake=fake, **margin), (real, fake))
            pair = {"real": real} if losses.paired else {}
            g = torch.autograd.grad(losses.g_loss(fake=fake, **pair), fake)
            for found, right in zip((*d, *g), (by_real(r, f), by_fake(r, f), of_g(r, f)), strict=True):
                # abs: torch's softplus is linear beyond 20, where the formula is 2e-9 away
                assert found.flatten().tolist() == pytest.approx([right / 4] * 4, rel=1e-5, abs=1e-9), (r, f)


@pytest.mark.parametrize("batch", [1, 8])
def test_g_still_learns_where_d_is_sure_of_its_fakes(batch):
    fake = torch.full((batch, 1), -30.0, requires_grad=True)
    (of_g,) = torch.autograd.grad(make("non_saturating").g_loss(fake=fake), fake)
    (saturated,) = torch.autograd.grad(make("minimax").g_loss(fake=fake), fake)
    assert of_g.flatten().tolist() == pytest.approx([-1 / batch] * batch)
    assert saturated.flatten().tolist() == pytest.approx([-math.exp(-30) / batch] * batch)


@pytest.mark.parametrize("at", [-100.0, -87.0, -30.0, 0.0, 1.0, 30.0, 39.9, 40.0])
def test_the_continued_exponential_is_exact_below_its_line(at):
    x = torch.tensor(at, dtype=torch.float64, requires_grad=True)
    (slope,) = torch.autograd.grad(exp(x), x)
    assert exp(x).item() == pytest.approx(math.exp(at), rel=1e-12)
    assert slope.item() == pytest.approx(math.exp(at), rel=1e-12)
    short = torch.tensor(at)
    assert exp(short) == short.exp()


@pytest.mark.parametrize("at", [40.5, 60.0, 100.0, 1e4])
def test_the_continued_exponential_is_its_tangent_above(at):
    x = torch.tensor(at, requires_grad=True)
    (slope,) = torch.autograd.grad(exp(x), x)
    assert LIMIT == 40
    assert exp(x).item() == pytest.approx(math.exp(40) * (1 + at - 40), rel=1e-5)
    assert slope.item() == pytest.approx(math.exp(40), rel=1e-5)
    assert slope.square().isfinite()
