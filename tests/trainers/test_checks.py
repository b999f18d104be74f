"""Static rules, before a step is trained."""

import pytest

from tests.fakes.trainings import tiny
from trainers.checks import refusals


def dcgan(norm):
    return {"name": "dcgan", "norm_d": norm}


@pytest.mark.parametrize("norm", ["layer", "none"])
def test_a_penalty_without_batch_norm_is_fine(norm):
    assert refusals(tiny(network=dcgan(norm), penalty="gradient")) == ()


@pytest.mark.parametrize("network", ["mlp", "dcgan"])
def test_batch_norm_without_a_penalty_is_fine(network):
    assert refusals(tiny(network=network)) == ()
    assert refusals(tiny(network=network, objective="wasserstein", clip=0.01)) == ()


def test_a_penalised_mlp_is_fine():
    assert refusals(tiny(penalty="gradient")) == ()


@pytest.mark.parametrize(("checks", "action"), [("refuse", "stop"), ("warn", "warn")])
@pytest.mark.parametrize("objective", ["wasserstein", "non_saturating"])
def test_batch_norm_in_a_penalised_discriminator_is_refused_whatever_the_loss(checks, action, objective):
    config = tiny(network=dcgan("batch"), penalty="gradient", objective=objective, static_checks=checks)
    (event,) = refusals(config)
    assert (event.kind, event.step, event.severity) == ("refused_batch_norm_in_penalised_critic", 0, 1.0)
    assert event.action == action
    assert event.evidence == {"penalty": "gradient", "network.norm_d": "batch"}
    assert "set network.norm_d to layer or none" in event.message
