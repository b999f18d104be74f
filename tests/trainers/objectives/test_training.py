"""Every objective trains, and what it keeps from step to step is resumed to the same bits."""

import copy
import math

import numpy as np
import pytest
import torch
from torch.nn.utils.parametrize import is_parametrized

from tests.fakes.trainings import DCGAN, bits, column, game_of, run, state_of, tiny
from tests.trainers.objectives.losses import MORE, NAMES, label
from trainers.data import load as load_data
from trainers.errors import ConfigError
from trainers.networks.batch import has_batch_norm
from trainers.networks.initial import WEIGHTED
from trainers.networks.stochastic import layers
from trainers.state import restore

CASES = [{"name": name} for name in NAMES]
CASES += [case for case in MORE if case.get("generator") != "strict" or case["divergence"] in ("kl", "neyman")]


def config_of(objective, **changes):
    network = {"name": "mlp", "width": 16}
    return tiny(**{"objective": objective, "network": network, "batch_size": 16, "segment_steps": 25} | changes)


@pytest.mark.parametrize("case", CASES, ids=label)
def test_fifty_steps_are_finite_and_resumed_to_the_same_bits(case):
    config = config_of(case, steps=50)
    straight = run(config)
    assert [segment.stop for segment in straight] == [25, 50]
    assert not any(segment.events for segment in straight)
    for name in ("g_loss", "grad_norm_g", *(() if case["name"] == "vae" else ("d_loss", "grad_norm_d"))):
        values = column(straight, name)[case.get("pretrain", 0) :]
        assert len(values) > 25
        assert all(value is not None and math.isfinite(value) for value in values), name
    resumed = run(config, state_of(straight[0]))
    assert bits(resumed) == bits(straight[1:])


@pytest.mark.parametrize("name", ["ebgan", "began", "relativistic", "loss_sensitive", "f_gan"])
@pytest.mark.parametrize("updates", ["simultaneous", "alternating"])
def test_images_and_both_orders_of_updates(name, updates):
    segments = run(tiny(**DCGAN, objective=name, updates=updates, steps=4))
    values = [*column(segments, "d_loss"), *column(segments, "g_loss")]
    assert all(value is not None and math.isfinite(value) for value in values)


def test_the_weight_of_began_follows_its_equation_and_is_in_the_checkpoint():
    config = config_of({"name": "began", "gamma": 0.9, "lambda_k": 0.02}, steps=40, segment_steps=20)
    segments = run(config)
    real, fake, loss = (np.array(column(segments, name)) for name in ("logit_real", "logit_fake", "d_loss"))
    k, expected, kept = 0.0, [], []
    for on_real, on_fake in zip(real, fake, strict=True):
        expected.append(on_real - k * on_fake)
        k = min(1.0, max(0.0, k + 0.02 * (0.9 * on_real - on_fake)))
        kept.append(k)
    np.testing.assert_allclose(loss, expected, atol=1e-5)
    found = [state_of(segment).tensors["objective/k"].item() for segment in segments]
    assert found == pytest.approx([kept[19], kept[39]], abs=1e-5)
    assert len({0.0, *found}) == 3


@pytest.mark.parametrize("at", [5, 10, 15])
def test_pre_training_is_resumed_to_the_same_bits(at):
    config = config_of({"name": "ebgan", "pretrain": 10}, steps=20, segment_steps=5)
    straight = run(config)
    (stopped,) = [segment for segment in straight if segment.stop == at]
    assert bits(run(config, state_of(stopped))) == bits(straight[at // 5 :])


def test_pre_training_is_on_real_samples_alone_and_g_waits():
    config = config_of({"name": "ebgan", "pretrain": 10}, steps=15, segment_steps=5)
    segments = run(config)
    generators = [segment.generator() for segment in segments]
    assert generators[0] == generators[1] != generators[2]
    assert [value is None for value in column(segments, "g_loss")] == [True] * 10 + [False] * 5
    real, loss = (column(segments, name) for name in ("logit_real", "d_loss"))
    assert loss[:10] == pytest.approx(real[:10], rel=1e-5)
    assert loss[10:] != pytest.approx(real[10:], rel=1e-2)
    assert real[9] < real[0]


@pytest.mark.parametrize("network", ["mlp", "dcgan"])
def test_pre_trained_on_real_data_alone_d_reconstructs_held_out_data_better_than_untrained(network):
    config = config_of(
        {"name": "ebgan", "pretrain": 200, "code": 16},
        data="digits", network=network, batch_size=64, steps=201, segment_steps=200, optim={"lr_d": 1e-3},
    )  # fmt: skip
    segment = run(config)[0]
    assert column([segment], "g_loss") == [None] * 200
    game = game_of(config)
    held_out = torch.tensor(load_data(config.data).held_out)
    mean = torch.tensor(load_data(config.data).train).mean(0)

    def energy() -> float:
        with torch.no_grad():
            return game.networks["discriminator"].eval()(held_out).mean().item()

    untrained = energy()
    restore(game, copy.deepcopy(game.networks["generator"]), state_of(segment))
    assert energy() < 0.5 * untrained
    assert energy() < 0.9 * (held_out - mean).square().mean().item()  # what needs no code at all


def test_the_pulling_away_term_is_part_of_gs_loss():
    with_term, without = (
        column(run(config_of({"name": "ebgan", "pull_away": weight}, steps=1)), "g_loss") for weight in (0.5, 0)
    )
    assert 0 < with_term[0] - without[0] <= 0.5


def test_ls_gan_measures_what_d_sees():
    """The loss of the first step, worked out from the logits and the samples by way of the margin's weight."""
    losses = [column(run(config_of({"name": "loss_sensitive", "tau": tau}, steps=1)), "d_loss")[0] for tau in (50, 100)]
    assert losses[1] - losses[0] == pytest.approx(losses[0], rel=0.1)  # the margins outweigh the first logits
    apart = [
        column(run(config_of({"name": "loss_sensitive", "tau": 50, "distance": kind}, steps=1)), "d_loss")[0]
        for kind in ("mean", "sum")
    ]
    assert apart[1] == pytest.approx(2 * apart[0], rel=0.1)  # samples of two numbers


@pytest.mark.parametrize("name", ["relativistic", "loss_sensitive"])
def test_labels_are_refused_where_the_loss_couples_samples(name):
    with pytest.raises(ConfigError, match="couples samples"):
        run(config_of(name, labels={"soft_real": 0.1}))


def test_a_training_leaves_no_weight_to_the_next():
    config = config_of({"name": "began", "lambda_k": 0.5}, steps=10)
    assert torch.equal(*(state_of(run(config)[-1]).tensors["objective/k"] for _ in range(2)))


IN_BATCHES = {"name": "mlp", "width": 16, "norm_d": "batch"}
OF_REAL_ALONE = [
    {},
    {"penalty": "gradient"},
    {"penalty": {"name": "r1_r2", "every": 2}},
    {"network": IN_BATCHES, "batches": "mixed"},
    {"replay": {"size": 32}},
    {"updates": "simultaneous", "clip": 0.1},
]


@pytest.mark.parametrize("more", OF_REAL_ALONE, ids=str)
def test_what_d_learns_in_pre_training_does_not_depend_on_the_fakes(more):
    """Another prior makes other fakes of the same generator."""
    trained = []
    for prior in ("normal", "uniform"):
        pretrained = {"objective": {"name": "ebgan", "pretrain": 10}, "latent": {"size": 2, "prior": prior}}
        segment = run(config_of(**pretrained, steps=12, segment_steps=10, **more))[0]
        tensors = state_of(segment).tensors
        trained.append({key: value for key, value in tensors.items() if key.startswith("discriminator/")})
        assert set(column([segment], "logit_fake")) == {None}
        assert segment.events == ()
    assert all(torch.equal(trained[0][key], trained[1][key]) for key in trained[0])


def test_a_memory_of_samples_begins_when_there_are_samples():
    config = config_of({"name": "ebgan", "pretrain": 10}, steps=15, segment_steps=5, replay={"size": 64})
    kept = [state_of(segment).tensors["replay/kept"] for segment in run(config)]
    assert not kept[1].any()
    assert kept[2].any()


@pytest.mark.parametrize("objective", ["ebgan", "began"])
@pytest.mark.parametrize("network", ["mlp", "dcgan", "resnet", "pacgan"])
def test_the_decoder_of_d_has_the_norm_of_d(objective, network):
    normed = {} if network == "pacgan" else {"norm_d": "spectral", "norm_g": "batch"}
    config = tiny(**DCGAN | {"network": {"name": network, "dropout": 0.5, **normed}}, objective=objective, penalty="r1")
    discriminator = game_of(config).networks["discriminator"]
    modules = list(discriminator.decoder.modules())
    assert not has_batch_norm(discriminator)
    assert not layers(discriminator)
    weighted = [module for module in modules if isinstance(module, WEIGHTED)]
    assert weighted
    assert all(is_parametrized(module, "weight") for module in weighted) == (network != "pacgan")
    assert math.isfinite(column(run(config), "d_loss")[-1])
