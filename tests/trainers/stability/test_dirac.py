"""Dirac-GAN, whose dynamics can be worked out by hand: what circles is flagged, what converges stays clean."""

import math
from functools import cache
from itertools import pairwise

import numpy as np
import pytest

from tests.fakes.trainings import column, run, state_of
from trainers.config import TrainConfig
from trainers.errors import ConfigError
from trainers.stability.events import Event

RATE, STEPS = 0.2, 1000


def sigmoid(x):
    return 1 / (1 + math.exp(-x)) if x > -700 else 0.0


# Gradients of D's loss over psi and of G's over theta (Mescheder et al. 2018, definition 2.1 and section 3): D says
# psi x, the data are 0, and G's sample is theta.
PLAYERS = {
    "minimax": lambda theta, psi: (theta * sigmoid(psi * theta), -psi * sigmoid(psi * theta)),
    "non_saturating": lambda theta, psi: (theta * sigmoid(psi * theta), -psi * sigmoid(-psi * theta)),
    "wasserstein": lambda theta, psi: (theta, -psi),
}
PULLS = {  # gradients of penalties with weight 1 over psi, which is D's gradient everywhere
    "none": lambda psi: 0.0,
    "gradient": lambda psi: 2 * (abs(psi) - 1) * math.copysign(1, psi),
    "r1": lambda psi: psi,
    "r2": lambda psi: psi,
}


def recursion(objective, penalty, weight, clip, updates="simultaneous"):
    """Yield (theta, psi) after each step from (1, 1)."""
    theta, psi = 1.0, 1.0
    for _ in range(STEPS):
        d, g = PLAYERS[objective](theta, psi)
        moved = psi - RATE * (d + weight * PULLS[penalty](psi))
        moved = moved if clip is None else min(clip, max(-clip, moved))
        if updates == "alternating":
            _, g = PLAYERS[objective](theta, moved)
        theta, psi = theta - RATE * g, moved
        yield theta, psi


def config(objective, penalty, weight, clip, updates="simultaneous"):
    chosen = {"name": penalty} | ({"lambda": weight} if penalty != "none" else {})
    return TrainConfig.model_validate(
        {
            "data": "dirac",
            "network": "dirac",
            "metrics": ["sliced_wasserstein"],
            "objective": objective,
            "penalty": chosen,
            "clip": clip,
            "updates": updates,
            "optim": {"name": "sgd", "lr_d": RATE, "lr_g": RATE, "beta1": 0},
            "batch_size": 4,
            "latent": {"size": 1},
            "evaluation": {"samples": 2, "grid": 1},
            "ema": 0,
            "steps": STEPS,
        }
    )


CIRCLE = [
    ("minimax", "none", 0.0, None),
    ("wasserstein", "none", 0.0, 1.0),
    ("wasserstein", "none", 0.0, 0.3),
    ("wasserstein", "gradient", 0.7, None),
    ("wasserstein", "gradient", 0.35, None),
]
CONVERGE = [
    (objective, penalty, weight, None)
    for objective in ("minimax", "non_saturating", "wasserstein")
    for penalty in ("r1", "r2")
    for weight in (0.3, 1.0)
]


@cache
def trained(*game):
    return run(config(*game))


@pytest.mark.parametrize(
    ("game", "updates"),
    [*((game, "simultaneous") for game in (*CIRCLE, *CONVERGE)), *((game, "alternating") for game in CIRCLE)],
    ids=str,
)
def test_the_trajectory_is_that_of_the_recursion(game, updates):
    segments = trained(*game, updates)
    expected = list(recursion(*game, updates))
    for segment in segments:
        tensors = state_of(segment).tensors
        found = tensors["generator/theta"].item(), tensors["discriminator/psi"].item()
        assert found == pytest.approx(expected[segment.stop - 1], rel=5e-3, abs=2e-3)
    before = [(1.0, 1.0), *expected[:-1]]
    said = [psi * theta for theta, psi in before]  # D's output on the sample that it is shown
    np.testing.assert_allclose(column(segments, "logit_fake"), said, rtol=1e-2, atol=5e-3)


@pytest.mark.parametrize(("game", "radius"), [(CIRCLE[1], (0.9, 1.5)), (CONVERGE[0], (0, 1e-10))], ids=str)
def test_it_ends_where_the_paper_has_it(game, radius):
    """A circle for the clipped WGAN, the equilibrium (0, 0) for R1 (figure 1 and lemma 4.1 there)."""
    tensors = state_of(trained(*game, "simultaneous")[-1]).tensors
    low, high = radius
    assert low <= math.hypot(tensors["generator/theta"].item(), tensors["discriminator/psi"].item()) <= high


@pytest.mark.parametrize("game", CIRCLE, ids=str)
def test_what_does_not_converge_is_flagged(game):
    events = found(game)
    assert "oscillation" in {event.kind for event in events}
    first = next(event for event in events if event.kind == "oscillation")
    assert first.step <= 500


@pytest.mark.parametrize("game", CONVERGE, ids=str)
def test_what_converges_stays_clean(game):
    assert found(game) == []


@pytest.mark.parametrize("clip", [1.0, 0.3])
def test_the_period_that_is_told_is_the_circles(clip):
    """D(x) - D(G(z)) = -psi theta turns twice while (theta, psi) turns once."""
    event = next(event for event in found(("wasserstein", "none", 0.0, clip)) if event.kind == "oscillation")
    expected = [theta for theta, _ in recursion("wasserstein", "none", 0.0, clip)][event.step - 400 : event.step]
    ups = [step for step, (one, two) in enumerate(pairwise(expected)) if one < 0 <= two]
    period = (ups[-1] - ups[0]) / (len(ups) - 1)
    assert event.evidence["period"] == pytest.approx(period / 2, abs=1) or event.evidence["period"] == pytest.approx(
        period, abs=1
    )


def test_its_generator_is_of_one_number():
    with pytest.raises(ConfigError, match="samples of one number"):
        run(config(*CIRCLE[0]).model_copy(update={"data": TrainConfig.model_validate({"data": "ring8"}).data}))


def found(game) -> list[Event]:
    return [event for segment in trained(*game, "simultaneous") for event in segment.events]
