"""Shapes, ranges, normalisation and initial weights of the networks."""

import numpy as np
import pytest
import torch
from jaxtyping import Float
from torch import Tensor, nn

from tests.fakes.trainings import game_of, tiny
from trainers import networks
from trainers.errors import ConfigError
from trainers.loop import train
from trainers.networks.initial import initialise
from trainers.params.networks import DcganParams, MlpParams, PacganParams, ResnetParams

LATENT = 5
IMAGES = [(1, 8, 8), (1, 28, 28), (3, 32, 32)]
MLP, DCGAN = MlpParams(width=8), DcganParams(features=2)
RESNET, PACGAN = ResnetParams(features=2), PacganParams(width_g=8, width_d=4)
BUILT = [(params, shape) for params in (MLP, PACGAN) for shape in [(2,), *IMAGES]]
BUILT += [(params, shape) for params in (DCGAN, RESNET) for shape in IMAGES]
NORMS = (nn.BatchNorm2d, nn.GroupNorm)


def pair(params, shape):
    built = networks.load(params)
    generator, discriminator = built.generator(LATENT, shape), built.discriminator(shape, 1)
    for name, network in (("generator", generator), ("discriminator", discriminator)):
        initialise(network, 3, name, built.init)
    return generator, discriminator


@pytest.mark.parametrize(("params", "shape"), BUILT)
def test_a_sample_has_the_datas_shape_and_a_logit_is_one_number(params, shape):
    generator, discriminator = pair(params, shape)
    samples = generator(torch.ones(6, LATENT))
    assert samples.shape == (6, *shape)
    logits = discriminator(samples)
    assert isinstance(logits, Float[Tensor, "6 1"])


@pytest.mark.parametrize(("params", "shape"), [(p, s) for p, s in BUILT if len(s) == 3])
def test_images_lie_in_the_range_of_tanh(params, shape):
    generator, _ = pair(params, shape)
    with torch.no_grad():
        [layer for layer in generator if hasattr(layer, "weight")][-1].weight.mul_(1e8)
        samples = generator(torch.linspace(-3, 3, 4 * LATENT).reshape(4, LATENT))
    assert samples.abs().max() <= 1
    assert samples.max() > 0.99
    assert samples.min() < -0.99


def test_points_are_not_bounded():
    generator, _ = pair(MLP, (2,))
    with torch.no_grad():
        assert generator(1000 * torch.ones(1, LATENT)).abs().max() > 1


@pytest.mark.parametrize("shape", IMAGES)
def test_neither_gs_last_nor_ds_first_layer_is_normalised(shape):
    generator, discriminator = pair(DCGAN, shape)
    assert [type(layer) for layer in list(generator)[-2:]] == [nn.ConvTranspose2d, nn.Tanh]
    assert [type(layer) for layer in list(discriminator)[:2]] == [nn.Conv2d, nn.LeakyReLU]
    assert sum(isinstance(layer, nn.BatchNorm2d) for layer in generator) >= 1


@pytest.mark.parametrize(("norm", "kind"), [("batch", nn.BatchNorm2d), ("layer", nn.GroupNorm), ("none", None)])
def test_d_is_normalised_as_asked_and_g_by_batches(norm, kind):
    generator, discriminator = pair(DcganParams(features=2, norm_d=norm), (3, 32, 32))
    assert [type(layer) for layer in discriminator if isinstance(layer, NORMS)] == [kind] * (2 if kind else 0)
    assert all(layer.num_groups == 1 for layer in discriminator if isinstance(layer, nn.GroupNorm))
    assert [type(layer) for layer in generator if isinstance(layer, NORMS)] == [nn.BatchNorm2d] * 3


@pytest.mark.parametrize("params", [MLP, DCGAN])
def test_there_is_no_sparse_gradient(params):
    for network in pair(params, (1, 8, 8)):
        assert not any(isinstance(layer, nn.ReLU | nn.MaxPool2d | nn.AvgPool2d) for layer in network.modules())
        slopes = {layer.negative_slope for layer in network.modules() if isinstance(layer, nn.LeakyReLU)}
        assert slopes == {0.2}


@pytest.mark.parametrize("depth", [1, 3])
def test_width_and_depth_are_those_of_the_hidden_layers(depth):
    for network in pair(MlpParams(width=7, depth=depth), (2,)):
        sizes = [layer.out_features for layer in network if isinstance(layer, nn.Linear)]
        assert sizes[:-1] == [7] * depth


def test_ds_own_width_and_depth_are_those_of_its_layers_and_of_its_decoder():
    params = MlpParams(width=7, depth=1, width_d=5, depth_d=2)
    built = networks.load(params)
    players = built.generator(LATENT, (2,)), built.discriminator((2,), 1), built.decoder(3, (2,))
    found = [[m.out_features for m in player.modules() if isinstance(m, nn.Linear)] for player in players]
    assert found == [[7, 2], [5, 5, 1], [5, 5, 2]]


def test_features_are_the_channels_next_to_the_image():
    generator, discriminator = pair(DcganParams(features=6), (3, 32, 32))
    assert (discriminator[0].out_channels, generator[-2].in_channels) == (6, 6)


@pytest.mark.parametrize("params", [DCGAN, RESNET])
@pytest.mark.parametrize("shape", [(2,), (8, 8), (1, 7, 7), (1, 4, 4), (1, 8, 16), (1, 9, 8)])
def test_what_cannot_be_halved_is_refused(params, shape):
    built = networks.load(params)
    for build in (lambda: built.generator(LATENT, shape), lambda: built.discriminator(shape, 1)):
        with pytest.raises(
            ConfigError,
            match=rf"network {params.name} needs square images of an even size above 4, but .*" + str(shape[0]),
        ):
            build()


def std(params, shape, of):
    return [
        (layer.weight.std().item(), layer.weight.numel(), layer.weight[0].numel())
        for network in pair(params, shape)
        for layer in network.modules()
        if isinstance(layer, of)
    ]


def test_dcgan_weights_have_std_0_02():
    for measured, count, _ in std(DcganParams(features=16), (3, 32, 32), nn.Conv2d | nn.ConvTranspose2d):
        # Six standard errors: each layer fails once in 5e8 seeds; the seed is fixed.
        assert abs(measured - 0.02) < 6 * 0.02 / np.sqrt(2 * count)


def test_mlp_weights_have_hes_std():
    for measured, count, fan_in in std(MlpParams(width=128), (1, 8, 8), nn.Linear):
        expected = np.sqrt(2 / (1 + 0.2**2) / fan_in)
        # Six standard errors, as above.
        assert abs(measured - expected) < 6 * expected / np.sqrt(2 * count)


@pytest.mark.parametrize("params", [MLP, DCGAN])
def test_biases_start_at_zero_and_norms_at_the_identity(params):
    for network in pair(params, (3, 32, 32)):
        for layer in network.modules():
            if isinstance(layer, NORMS):
                assert (layer.weight == 1).all()
            if getattr(layer, "bias", None) is not None:
                assert (layer.bias == 0).all()


def weights(seed, name="generator"):
    built = networks.load(DCGAN)
    network = built.generator(LATENT, (1, 8, 8))
    initialise(network, seed, name, built.init)
    return torch.cat([p.detach().flatten() for p in network.parameters()])


def test_the_seed_alone_decides_the_weights():
    torch.manual_seed(1)
    one = weights(5)
    torch.manual_seed(2)
    assert torch.equal(one, weights(5))
    assert not torch.equal(one, weights(6))
    assert not torch.equal(one, weights(5 + 2**32))
    assert not torch.equal(one, weights(5, name="discriminator"))


def test_every_layer_has_numbers_of_its_own():
    generator, _ = pair(MlpParams(width=LATENT, depth=3), (2,))
    first, second = generator[0].weight, generator[2].weight
    assert first.shape == second.shape
    assert not torch.equal(first, second)


ODD = "tests.fakes.odd_variants"


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("WIDE_G", r"its generator must turn \[2, 3\] into \[2, 2\], but gives \[2, 7\]"),
        ("ONE_NUMBER_G", r"its generator must turn \[2, 3\] into \[2, 2\], but gives \[2, 1\]"),
        ("THREE_D", r"its discriminator must turn \[2, 2\] into \[2, 1\], but gives \[2, 3\]"),
        ("FLAT_D", r"its discriminator must turn \[2, 2\] into \[2, 1\], but gives \[2\]"),
        ("NO_MODULE", "its discriminator must be a torch.nn.Module, but is None"),
        ("NO_INIT", "init must be one of he, normal, orthogonal, but is 'glorot'"),
        ("NO_NETWORKS", r"must make Networks, but made \(1, 2\)"),
    ],
)
def test_a_network_of_another_shape_is_refused_before_a_step_is_trained(name, why):
    with pytest.raises(ConfigError, match=f"network {ODD}:{name}.*{why}"):
        next(train(tiny(network=f"{ODD}:{name}")))
    next(train(tiny(network=f"{ODD}:FINE")))


def test_a_decoder_of_another_shape_is_refused():
    with pytest.raises(ConfigError, match=r"its decoder must turn \[2, 3\] into \[2, 2\], but gives \[2, 1\]"):
        next(train(tiny(network=f"{ODD}:WIDE_DECODER", objective={"name": "ebgan", "code": 3})))


def test_weights_that_a_network_draws_for_itself_follow_from_the_seed():
    drawn = []
    for outside, seed in ((1, 7), (2, 7), (2, 8)):
        torch.manual_seed(outside)
        game = game_of(tiny(network=f"{ODD}:OWN_WEIGHTS", seed=seed))
        drawn.append(game.networks["discriminator"].state_dict()["scale"])
    assert drawn[0].equal(drawn[1])
    assert not drawn[1].equal(drawn[2])


def test_trying_a_network_takes_no_statistics_and_no_random_numbers():
    torch.manual_seed(3)
    wanted = MlpParams(width=8, norm_g="batch", norm_d="batch", dropout=0.5, dropout_at_sampling=True)
    made = networks.find("network", "mlp").load_make()(wanted)
    plain = [made.generator(LATENT, (2,)), made.discriminator((2,), 1)]
    drawn = torch.get_rng_state()
    torch.manual_seed(3)
    tried = networks.load(wanted)
    for ours, theirs in zip([tried.generator(LATENT, (2,)), tried.discriminator((2,), 1)], plain, strict=True):
        assert ours.training
        for name, value in ours.state_dict().items():
            assert torch.equal(value, theirs.state_dict()[name]), name
    assert torch.equal(torch.get_rng_state(), drawn)
