"""Static rules, before a step is trained."""

import pytest

from tests.fakes.trainings import run, tiny
from trainers.checks import refusals

OF_INPUT_GRADIENTS = ["gradient", "gradient_one_sided", "r1", "r2", "r1_r2", "dragan"]


def dcgan(norm, norm_g="batch"):
    return {"name": "dcgan", "norm_d": norm, "norm_g": norm_g}


@pytest.mark.parametrize("norm", ["layer", "instance", "spectral", "none"])
@pytest.mark.parametrize("penalty", OF_INPUT_GRADIENTS)
def test_a_penalty_without_batch_norm_is_fine(penalty, norm):
    assert refusals(tiny(network=dcgan(norm), penalty=penalty)) == ()


@pytest.mark.parametrize("network", ["mlp", "dcgan", {"name": "mlp", "norm_d": "batch"}])
def test_batch_norm_without_a_penalty_is_fine(network):
    assert refusals(tiny(network=network)) == ()
    assert refusals(tiny(network=network, objective="wasserstein", clip=0.01)) == ()
    assert refusals(tiny(network=network, penalty="l2")) == ()


@pytest.mark.parametrize("network", ["mlp", "resnet", "pacgan"])
def test_a_penalised_discriminator_of_a_network_without_batch_norm_in_it_is_fine(network):
    assert refusals(tiny(network=network, penalty="gradient")) == ()


@pytest.mark.parametrize(("checks", "action"), [("refuse", "stop"), ("warn", "warn")])
@pytest.mark.parametrize("objective", ["wasserstein", "non_saturating"])
def test_batch_norm_in_a_penalised_discriminator_is_refused_whatever_the_loss(checks, action, objective):
    config = tiny(network=dcgan("batch"), penalty="gradient", objective=objective, static_checks=checks)
    (event,) = refusals(config)
    assert (event.kind, event.step, event.severity) == ("refused_batch_norm_in_penalised_critic", 0, 1.0)
    assert event.action == action
    assert event.evidence == {"penalty": "gradient", "network.norm_d": "batch"}
    wanted = {"refuse": ", or static_checks to warn", "warn": " (trained all the same, by static_checks=warn)"}
    assert event.message == (
        "a gradient penalty needs a discriminator without batch normalisation: "
        f"set network.norm_d to layer or none{wanted[checks]}"
    )


@pytest.mark.parametrize("network", ["mlp", "dcgan", "resnet"])
@pytest.mark.parametrize("penalty", OF_INPUT_GRADIENTS)
def test_it_is_refused_in_every_network_with_every_penalty_on_gradients(penalty, network):
    (event,) = refusals(tiny(network={"name": network, "norm_d": "batch"}, penalty=penalty))
    assert event.evidence == {"penalty": penalty, "network.norm_d": "batch"}


@pytest.mark.parametrize("objective", ["ebgan", "began"])
def test_the_decoder_of_a_discriminator_that_is_an_auto_encoder_has_its_norm(objective):
    (event,) = refusals(tiny(network=dcgan("batch", "layer"), penalty="r1", objective=objective))
    assert event.evidence == {"penalty": "r1", "network.norm_d": "batch"}
    assert refusals(tiny(network=dcgan("layer", "batch"), penalty="r1", objective=objective)) == ()
    assert refusals(tiny(network=dcgan("batch"), objective=objective)) == ()


@pytest.mark.parametrize("penalty", OF_INPUT_GRADIENTS)
def test_an_activation_whose_second_derivative_jumps_is_told_under_a_penalty_on_gradients(penalty):
    (event,) = refusals(tiny(network={"name": "mlp", "activation": "elu"}, penalty=penalty))
    assert (event.kind, event.step, event.action) == ("warned_non_smooth_activation_in_penalised_critic", 0, "warn")
    assert refusals(tiny(network={"name": "mlp", "activation": "softplus_elu"}, penalty=penalty)) == ()
    assert refusals(tiny(network={"name": "mlp", "activation": "elu"})) == ()
    assert run(tiny(network={"name": "mlp", "activation": "elu", "width": 4}, penalty=penalty))[0].events[0] == event
