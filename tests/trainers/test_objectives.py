"""What every objective must keep: shapes, finite gradients, separable terms, the floor of D's loss."""

import math
from itertools import product
from typing import get_type_hints

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from jaxtyping import Float, jaxtyped
from torch import Tensor

from tests.trainers.objectives.losses import NAMES, adversarial, label, make
from trainers.config import TrainConfig
from trainers.objectives import (
    OwnGame,
    ebgan,
    hinge,
    maximum_likelihood,
    minimax,
    non_saturating,
    relativistic,
    wasserstein,
)

CASES = adversarial()
UNWATCHED = ("ebgan", "loss_sensitive")  # bounded from below, but at the bound D still teaches G
FLOORS = {  # of D's loss; every other objective has none
    "non_saturating": 0.0,
    "minimax": 0.0,
    "maximum_likelihood": 0.0,
    "least_squares": 0.0,
    "hinge": 0.0,
    "relativistic": 0.0,
    "squared_hellinger": -2.0,
    "jensen_shannon": -2 * math.log(2),
    "gan": 0.0,
    "total_variation": -1.0,
}


def column(*values):
    return torch.tensor(values, dtype=torch.float32).reshape(-1, 1).requires_grad_(True)


def said(losses, real, fake, margin=0.25):
    """Return the arguments of D's and of G's loss."""
    more = {} if losses.margin is None else {"margin": torch.full_like(real, margin)}
    paired = {"real": real} if losses.paired else {}
    return {"real": real, "fake": fake, **more}, {"fake": fake, **paired}


def floor_of(case):
    return FLOORS.get(case.get("divergence", case["name"]))


def test_the_non_saturating_losses_where_d_cannot_tell():
    losses = make("non_saturating")
    assert losses.d_loss(real=column(0, 0), fake=column(0, 0)).item() == pytest.approx(2 * math.log(2), rel=1e-6)
    assert losses.g_loss(fake=column(0, 0, 0)).item() == pytest.approx(math.log(2), rel=1e-6)


def test_the_wasserstein_losses_have_their_signs():
    losses = make("wasserstein")
    assert losses.d_loss(real=column(4, 6), fake=column(1, 3)).item() == -3
    assert losses.g_loss(fake=column(1, 3)).item() == -2
    assert losses.d_loss(real=column(1), fake=column(1)).item() == 0


def test_g_of_minimax_pays_what_d_gains_of_its_fakes():
    fake, real = column(-2, 0.5), column(1, 3)
    losses = make("minimax")
    assert losses.g_loss(fake=fake) == -make("non_saturating").terms[1](fake).mean()
    assert losses.d_loss(real=real, fake=fake) == make("non_saturating").d_loss(real=real, fake=fake)


def test_a_pair_that_changes_places_exchanges_the_players():
    losses, one, two = make("relativistic"), column(1, -2), column(0.5, 3)
    assert losses.paired
    assert losses.g_loss(real=one, fake=two) == losses.d_loss(real=two, fake=one)
    assert losses.d_loss(real=one, fake=two).item() == pytest.approx(
        (math.log1p(math.exp(-0.5)) + math.log1p(math.exp(5))) / 2
    )


@pytest.mark.parametrize("case", CASES, ids=label)
def test_losses_and_gradients_are_finite_wherever_d_is(case):
    losses, extremes = make(**case), (-100.0, -30.0, 0.0, 30.0, 100.0)
    for real, fake in product(extremes, extremes):
        of_d, of_g = said(losses, column(*[real] * 64), column(*[fake] * 64))
        for value, by in ((losses.d_loss(**of_d), of_d), (losses.g_loss(**of_g), of_g)):
            assert value.shape == ()
            assert value.isfinite()
            logits = [said_ for name, said_ in by.items() if name != "margin"]
            for gradient in torch.autograd.grad(value, logits, allow_unused=True, materialize_grads=True):
                assert gradient.square().sum().isfinite(), "gradient norms and optimizers take the square"


@pytest.mark.parametrize("case", CASES, ids=label)
def test_the_terms_add_up_to_ds_loss(case):
    losses, real, fake = make(**case), column(1, -2, 0.5), column(0.25, 3, -1)
    coupled = losses.paired or losses.margin is not None
    assert (losses.terms is None) == coupled
    if losses.terms is not None:
        as_real, as_fake = losses.terms
        assert as_real(real).shape == as_fake(fake).shape == (3, 1)
        assert losses.d_loss(real=real, fake=fake) == as_real(real).mean() + as_fake(fake).mean()


logit = st.floats(-1e4, 1e4, width=32)


@pytest.mark.parametrize("case", [case for case in CASES if floor_of(case) is not None], ids=label)
@settings(max_examples=30, deadline=None)
@given(pairs=st.lists(st.tuples(logit, logit), min_size=1, max_size=8))
def test_d_loss_is_never_below_its_floor(case, pairs):
    losses = make(**case)
    real, fake = zip(*pairs, strict=True)
    of_d, _ = said(losses, column(*real), column(*fake))
    assert losses.d_loss(**of_d).item() >= losses.d_floor - 1e-6


@pytest.mark.parametrize("case", CASES, ids=label)
def test_the_floor_is_reached_where_d_wins_and_is_none_where_there_is_none(case):
    losses, floor = make(**case), floor_of(case)
    assert losses.d_floor == (None if floor is None else pytest.approx(floor))
    if floor is None:
        return
    least_squares = case["name"] == "least_squares"
    real, fake = (case.get("b", 1), case.get("a", 0)) if least_squares else (100, -100)
    of_d, _ = said(losses, column(real), column(fake))
    assert losses.d_loss(**of_d).item() == pytest.approx(floor, abs=1e-6)


UNBOUNDED = [case for case in CASES if floor_of(case) is None and case["name"] not in UNWATCHED]


@pytest.mark.parametrize("case", UNBOUNDED, ids=label)
def test_a_loss_without_a_floor_falls_below_any(case):
    losses = make(**case)
    if losses.state is not None:
        losses.state.k.fill_(0.5)
    far = [said(losses, column(sign * 5e3), column(other * 5e3))[0] for sign, other in ((1, -1), (-1, -1), (0, 1))]
    far.append(said(losses, column(30), column(2))[0])
    assert min(losses.d_loss(**of_d).item() for of_d in far) < -20


FUNCTIONS = [
    *(f for m in (non_saturating, wasserstein, hinge) for f in (m.as_real, m.as_fake, m.g_loss)),
    minimax.g_loss,
    maximum_likelihood.g_loss,
    relativistic.d_loss,
    relativistic.g_loss,
    ebgan.g_loss,
    ebgan.pulling_away,
]


@pytest.mark.parametrize("function", FUNCTIONS, ids=lambda f: f"{f.__module__}.{f.__name__}")
def test_the_annotated_shapes_are_the_real_ones(function):
    hints = get_type_hints(function, localns={"Float": Float, "Tensor": Tensor})
    returned = hints.pop("return")
    given_ = {name: column(1, 2, 3) for name in hints}
    with jaxtyped("context"):
        assert all(isinstance(given_[name], hint) for name, hint in hints.items())
        found = function(*given_.values()) if len(given_) == 1 and "fake" not in given_ else function(**given_)
        assert isinstance(found, returned)
    for hint in hints.values():
        with jaxtyped("context"):
            assert not isinstance(torch.zeros(3), hint), "logits without their last axis would be broadcast"


@pytest.mark.parametrize("name", NAMES)
def test_an_objective_is_found_by_its_name_and_its_parameters_round_trip(name):
    made = make(name)
    if isinstance(made, OwnGame):
        assert callable(made.build)
        assert made.d_floor is None
    config = TrainConfig(objective=name)
    assert TrainConfig.model_validate_json(config.model_dump_json()) == config
    assert config.objective.name == name


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"name": "least_squares", "a": 1}, "a and b must differ"),
        ({"name": "f_gan", "divergence": "renyi"}, "squared_hellinger"),
        ({"name": "ebgan", "margin": 0}, "greater than 0"),
        ({"name": "began", "gamma": 1.5}, "less than or equal to 1"),
        ({"name": "vae", "sigma": 0}, "greater than 0"),
        ({"name": "hinge", "margin": 1}, "Extra inputs"),
    ],
)
def test_parameters_that_make_no_sense_are_refused(wrong, message):
    with pytest.raises(ValueError, match=message):
        TrainConfig.model_validate({"objective": wrong})
