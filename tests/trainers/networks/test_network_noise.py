"""Dropout and noise in G: where they are, when they act, and that samples are a function of latents and places."""

import numpy as np
import pytest
import torch

from tests.trainers.networks.built import SMALL, build, latents, params
from trainers.generate import BATCH, run
from trainers.networks.stochastic import Dropout, Noise, layers, reseed

IMAGE = (1, 32, 32)
HIDDEN = {"mlp": 3, "dcgan": 3, "resnet": 3, "pacgan": 4}
BOTH = {"noise": "multiplicative", "noise_std": 0.3, "dropout": 0.25}
every_network = pytest.mark.parametrize("name", SMALL)


def generator_of(name, option, shape=IMAGE):
    return build(params(name, option), shape)[0]


@every_network
def test_every_hidden_layer_has_noise_and_then_dropout(name):
    generator, discriminator = build(params(name, BOTH), IMAGE)
    found = layers(generator)
    assert [type(layer) for layer in found] == [Noise, Dropout] * HIDDEN[name]
    assert {(layer.kind, layer.std) for layer in found[::2]} == {("multiplicative", 0.3)}
    assert {layer.p for layer in found[1::2]} == {0.25}
    assert layers(discriminator) == []
    assert layers(generator_of(name, {})) == []


@every_network
def test_without_a_key_they_change_nothing_not_even_the_first_weights(name):
    plain, noisy = generator_of(name, {}), generator_of(name, BOTH)
    assert torch.equal(plain(latents()), noisy(latents()))


@every_network
@pytest.mark.parametrize(
    ("option", "in_sampling"),
    [
        ({"dropout": 0.5}, False),
        ({"dropout": 0.5, "dropout_at_sampling": True}, True),
        ({"noise": "additive"}, True),
        ({"noise": "multiplicative", "dropout_at_sampling": False}, True),
    ],
)
def test_when_they_act(name, option, in_sampling):
    plain, noisy = generator_of(name, {}), generator_of(name, option)
    for training in (True, False):
        said = []
        for key in (1, 2, 1):
            reseed(noisy, torch.tensor(key))
            said.append(noisy.train(training)(latents()))
        assert torch.equal(said[0], said[2])
        assert torch.equal(said[0], said[1]) != (training or in_sampling)
        if not training and not in_sampling:
            noisy.load_state_dict(plain.state_dict())
            assert torch.equal(noisy(latents()), plain.eval()(latents()))


@every_network
@pytest.mark.parametrize("option", [{"dropout": 0.5, "dropout_at_sampling": True}, {"noise": "additive"}, BOTH])
def test_samples_are_a_function_of_latents_and_their_places(name, option):
    generator = generator_of(name, option, (1, 8, 8)).eval()
    latent = latents(1).repeat(BATCH + 3, 1).numpy()
    before = torch.get_rng_state()
    first = run(generator, latent)
    reseed(generator, torch.tensor(99))
    np.testing.assert_array_equal(first, run(generator, latent))
    assert torch.equal(torch.get_rng_state(), before)
    assert not np.array_equal(first[0], first[1])
    np.testing.assert_allclose(
        first[:3], first[BATCH:], atol=1e-5
    )  # of places in a batch, as a model that is served has it


@every_network
def test_samples_of_a_generator_without_them_do_not_depend_on_their_places(name):
    generator = generator_of(name, {"dropout": 0.5}, (1, 8, 8)).eval()
    latent = latents(5).numpy()
    np.testing.assert_allclose(run(generator, latent)[::-1], run(generator, latent[::-1].copy()), atol=1e-6)


def test_each_row_of_a_batch_has_noise_of_its_own():
    generator = generator_of("mlp", {"noise": "additive"}, (2,)).eval()
    samples = run(generator, latents(1).repeat(BATCH, 1).numpy())
    assert len(np.unique(samples, axis=0)) > BATCH - 5  # float32 of two of them may be equal
