"""Every option of every network: shapes, ranges, norms, gradients, copies, and no dead knob."""

import copy
from itertools import pairwise

import pytest
import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from tests.trainers.networks.built import (
    NORMS,
    OPTIONS,
    SIZES,
    SMALL,
    build,
    changed,
    latents,
    leaves,
    parameter_of,
    params,
    pictures,
    weighted,
)
from trainers.networks.initial import WEIGHTED
from trainers.networks.stochastic import reseed

IMAGE = (3, 16, 16)
KEY = torch.tensor(17)
TAKES_AWAY = (_BatchNorm, nn.InstanceNorm2d)  # a bias before it
IN_BOTH = {"activation", "init", "features", "width", "depth"}
IN_G = {"norm_g", "upsample", "split_latent", "noise", "noise_std", "dropout", "dropout_at_sampling", "width_g"}
IN_D = {"norm_d", "downsample", "width_d", "depth_d", "pieces"}


def label(value):
    return "-".join(f"{k}={v}" for k, v in value.items()) or "default" if isinstance(value, dict) else None


every_option = pytest.mark.parametrize(("name", "option"), OPTIONS, ids=label)
ds_option = pytest.mark.parametrize(
    ("name", "option"), [(name, option) for name, option in OPTIONS if not changed(name, option) & IN_G], ids=label
)
no_default = pytest.mark.parametrize(("name", "option"), [row for row in OPTIONS if changed(*row)], ids=label)


@every_option
@pytest.mark.parametrize("size", SIZES)
def test_samples_and_logits_have_their_shapes_and_samples_the_range_of_tanh(name, option, size):
    shape = (2, size, size)
    generator, discriminator = build(params(name, option), shape)
    reseed(generator, KEY)
    with torch.no_grad():
        samples = generator(1e4 * latents(3))
        assert samples.shape == (3, *shape)
        assert discriminator(samples).shape == (3, 1)
    assert samples.abs().max() <= 1
    assert samples.std() > 0


@every_option
@pytest.mark.parametrize("size", [8, 32])
def test_no_norm_follows_gs_last_or_ds_first_layer(name, option, size):
    generator, discriminator = build(params(name, option), (1, size, size))
    layers = leaves(generator)
    last = max(place for place, layer in enumerate(layers) if isinstance(layer, WEIGHTED))
    assert not any(isinstance(layer, NORMS) for layer in layers[last:])
    layers = leaves(discriminator)
    _, second, *_ = (place for place, layer in enumerate(layers) if isinstance(layer, WEIGHTED))
    assert not any(isinstance(layer, NORMS) for layer in layers[:second])


@no_default
def test_no_option_is_dead(name, option):
    """An option changes what the networks say that it is about, and not what the other one says."""

    def said(option):
        generator, discriminator = build(params(name, option), IMAGE)
        reseed(generator, KEY)
        with torch.no_grad():
            return generator.train("dropout_at_sampling" not in keys)(latents()), discriminator(pictures(IMAGE))

    keys = changed(name, option)
    without = {"dropout": option["dropout"]} if "dropout_at_sampling" in keys else {}
    before, after = said(without), said(option)
    assert keys <= IN_BOTH | IN_G | IN_D
    assert torch.equal(before[0], after[0]) != bool(keys & (IN_BOTH | IN_G))
    assert torch.equal(before[1], after[1]) != bool(keys & (IN_BOTH | IN_D))


def test_neither_is_the_strength_of_noise():
    weak, strong = ({"noise": "additive", "noise_std": std} for std in (0.1, 0.2))
    for name in SMALL:
        generators = [build(params(name, option), IMAGE)[0] for option in (weak, strong)]
        for generator in generators:
            reseed(generator, KEY)
        assert not torch.equal(*(generator(latents()) for generator in generators))


def silenced(layers):
    """Return the biases that the norm after them takes away again."""
    return {
        layer.bias for layer, after in pairwise(layers) if isinstance(layer, WEIGHTED) and isinstance(after, TAKES_AWAY)
    }


@every_option
def test_gradient_reaches_every_parameter(name, option):
    generator, discriminator = build(params(name, option), IMAGE)
    reseed(generator, KEY)
    for network, inputs in ((generator, latents(8)), (discriminator, pictures(IMAGE, 8))):
        said = network(inputs)
        weights = torch.linspace(-1, 2, said.numel()).view(said.shape)
        (said * weights).sum().backward()
        silent = silenced(leaves(network))
        for path, parameter in network.named_parameters():
            assert parameter.grad is not None, path
            assert parameter.grad.isfinite().all(), path
            assert parameter.grad.abs().max() > 0 or parameter in silent, path


@every_option
def test_only_dcgans_first_form_keeps_biases_that_a_norm_takes_away(name, option):
    generator, discriminator = build(params(name, option), IMAGE)
    assert silenced(leaves(generator)) <= {None}
    if (name, params(name, option).model_dump().get("norm_d")) != ("dcgan", "batch"):
        assert silenced(leaves(discriminator)) <= {None}


@ds_option
def test_ds_input_gradient_can_be_differentiated_again(name, option):
    given = params(name, option)
    if getattr(given, "norm_d", "none") == "batch":
        given = type(given).model_validate(given.model_dump() | {"norm_d": "none"})
    _, discriminator = build(given, IMAGE)
    points = pictures(IMAGE, 5).requires_grad_(True)
    (gradient,) = torch.autograd.grad(discriminator(points).sum(), points, create_graph=True)
    assert gradient.abs().max() > 0
    penalty = (gradient.flatten(1).square().sum(1) + 1e-12).sqrt().sub(1).square().mean()
    for found in torch.autograd.grad(penalty, [parameter_of(layer) for layer in weighted(discriminator)]):
        assert found.isfinite().all()
        assert found.abs().max() > 0


@ds_option
def test_without_batch_norm_d_judges_each_sample_alone(name, option):
    given = params(name, option)
    norm = getattr(given, "norm_d", "none")
    _, discriminator = build(given, IMAGE)
    discriminator.train(norm != "spectral")  # whose training passes change the layer
    samples = pictures(IMAGE, 3)
    with torch.no_grad():
        whole = discriminator(samples)
        other = discriminator(torch.cat((samples[:1], -samples[1:])))
    alone = torch.allclose(whole[0], other[0], rtol=1e-4, atol=1e-6)
    assert alone == (norm != "batch")


@every_option
def test_a_loaded_state_and_a_deep_copy_say_the_same(name, option):
    built = zip(build(params(name, option), IMAGE), build(params(name, option), IMAGE, seed=4), strict=True)
    for (one, other), inputs in zip(built, (latents(), pictures(IMAGE)), strict=True):
        one.eval(), other.eval()
        with torch.no_grad():
            said = one(inputs)
            assert not torch.equal(said, other(inputs))
            other.load_state_dict(one.state_dict())
            assert torch.equal(said, other(inputs))
            copied = copy.deepcopy(one)
            assert torch.equal(said, copied(inputs))
            for parameter in one.parameters():
                parameter.mul_(0.5).add_(0.1)
            assert not torch.equal(one(inputs), said)
            assert torch.equal(said, copied(inputs))


@every_option
def test_the_global_generators_give_nothing_and_are_left_alone(name, option):
    states = []
    for seed in (1, 2):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)  # torch's own first weights, all of which are drawn over
            networks = build(params(name, option), IMAGE)
        states.append([network.state_dict() for network in networks])
    for one, other in zip(*states, strict=True):
        assert one.keys() == other.keys()
        assert all(torch.equal(one[key], other[key]) for key in one)
    reseed(networks[0], KEY)
    before = torch.get_rng_state()
    networks[1](networks[0](latents()))
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("name", SMALL)
@pytest.mark.parametrize("outputs", [1, 5])
def test_d_of_a_pack_takes_more_channels_and_gives_as_many_outputs_as_are_asked_for(name, outputs):
    _, discriminator = build(params(name), (3 * 4, 8, 8), outputs=outputs)
    assert discriminator(pictures((12, 8, 8), 7)).shape == (7, outputs)


@pytest.mark.parametrize("name", SMALL)
def test_each_of_ds_outputs_is_its_own(name):
    _, discriminator = build(params(name), (1, 8, 8), outputs=5)
    said = discriminator(pictures((1, 8, 8), 7))
    assert len({tuple(column) for column in said.T.tolist()}) == 5


@pytest.mark.parametrize(("name", "option"), [row for row in OPTIONS if row[0] in ("mlp", "pacgan")], ids=label)
def test_points_are_not_bounded(name, option):
    generator, discriminator = build(params(name, option), (2,))
    with torch.no_grad():
        last = [layer for layer in leaves(generator) if isinstance(layer, WEIGHTED)][-1]
        last.weight.mul_(1e9)
        points = generator(latents())
        assert points.shape == (4, 2)
        assert points.abs().max() > 10
        assert discriminator(points).shape == (4, 1)
