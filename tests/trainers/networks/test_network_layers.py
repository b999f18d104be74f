"""The networks' own layers against their formulas, and which layers a network has."""

from itertools import chain, pairwise

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.utils.parametrize import is_parametrized

from tests.trainers.networks.built import NORMS, build, latents, leaves, params, pictures, weighted
from trainers.errors import ConfigError
from trainers.networks.layers import GlobalSum, Maxout, Residual, SoftplusElu, SplitLatent, shares_of
from trainers.params.networks import DcganParams, MlpParams, PacganParams, ResnetParams

KINDS = {
    "leaky_relu": nn.LeakyReLU,
    "relu": nn.ReLU,
    "tanh": nn.Tanh,
    "softplus_elu": SoftplusElu,
    "elu": nn.ELU,
}


def count(network, kind):
    return sum(isinstance(layer, kind) for layer in leaves(network))


def test_the_smooth_elu():
    x = np.array([-20.0, -1.5, -0.1, 0.0, 0.3, 4.0])
    expected = np.log1p(np.exp(2 * x + 2)) / 2 - 1
    np.testing.assert_allclose(SoftplusElu()(torch.from_numpy(x)).numpy(), expected, rtol=1e-12)


def test_maxout_is_the_largest_of_the_pieces_of_a_unit():
    x = np.random.Generator(np.random.Philox(key=1)).standard_normal((4, 12))
    expected = np.stack([x[:, unit * 3 : unit * 3 + 3].max(1) for unit in range(4)], axis=1)
    np.testing.assert_array_equal(Maxout(3)(torch.from_numpy(x)).numpy(), expected)


def test_a_residual_block_adds_and_a_global_sum_sums():
    x = pictures((3, 4, 4))
    assert torch.equal(Residual(nn.Tanh(), nn.Identity())(x), x.tanh() + x)
    np.testing.assert_allclose(GlobalSum()(x).numpy(), x.double().numpy().sum((2, 3)), rtol=1e-5, atol=1e-6)


# -- what each network consists of -------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["mlp", "dcgan"])
@pytest.mark.parametrize("kind", KINDS)
def test_every_hidden_layer_has_the_activation_that_is_asked_for(name, kind):
    generator, discriminator = build(params(name, {"activation": kind}), (1, 32, 32))
    hidden = 3  # layers, both with a depth of 3 and with 32 pixels that are halved three times
    in_g = {other: count(generator, KINDS[other]) for other in KINDS}
    in_g["tanh"] -= 1  # the last one
    assert in_g == {other: hidden * (other == kind) for other in KINDS}
    assert {other: count(discriminator, KINDS[other]) for other in KINDS} == {
        other: hidden * (other == kind) for other in KINDS
    }


@pytest.mark.parametrize(
    ("name", "kind", "layer"),
    [
        ("mlp", "batch", nn.BatchNorm1d),
        ("mlp", "layer", nn.LayerNorm),
        ("dcgan", "batch", nn.BatchNorm2d),
        ("dcgan", "layer", nn.GroupNorm),
        ("dcgan", "instance", nn.InstanceNorm2d),
        ("resnet", "batch", nn.BatchNorm2d),
        ("resnet", "layer", nn.GroupNorm),
        ("resnet", "instance", nn.InstanceNorm2d),
        ("mlp", "none", None),
        ("dcgan", "none", None),
        ("resnet", "none", None),
    ],
)
def test_norms_are_those_that_are_asked_for(name, kind, layer):
    generator, discriminator = build(params(name, {"norm_g": kind, "norm_d": kind}), (1, 32, 32))
    # Two in each of the resnet's blocks, one after G's last block, and none in D's first.
    in_g, in_d = {"mlp": (3, 2), "dcgan": (3, 2), "resnet": (2 * 3 + 1, 2 * 3)}[name]
    for network, expected in ((generator, in_g), (discriminator, in_d)):
        found = [type(each) for each in leaves(network) if isinstance(each, NORMS)]
        assert found == ([] if layer is None else [layer] * expected)


def test_layer_norm_of_images_is_over_all_of_a_sample():
    _, discriminator = build(params("dcgan", {"norm_d": "layer"}), (1, 32, 32))
    assert {layer.num_groups for layer in leaves(discriminator) if isinstance(layer, nn.GroupNorm)} == {1}


def test_instance_norm_has_a_gain_and_a_bias():
    generator, _ = build(params("dcgan", {"norm_g": "instance"}), (1, 32, 32))
    assert all(layer.affine for layer in leaves(generator) if isinstance(layer, nn.InstanceNorm2d))


@pytest.mark.parametrize("name", ["mlp", "dcgan", "resnet"])
def test_spectral_normalisation_is_in_every_layer_of_d_and_in_none_of_g(name):
    generator, discriminator = build(params(name, {"norm_d": "spectral"}), (1, 32, 32))
    assert all(is_parametrized(layer, "weight") for layer in weighted(discriminator))
    assert not any(is_parametrized(layer) for layer in weighted(generator))
    assert not any(isinstance(layer, NORMS) for layer in leaves(discriminator))


def test_upsampling_is_strided_or_by_sub_pixels():
    for kind, transposed, shuffled in (("transposed", 4, 0), ("pixel_shuffle", 1, 3)):  # one from the latent to 4x4
        generator, _ = build(params("dcgan", {"upsample": kind}), (1, 32, 32))
        assert (count(generator, nn.ConvTranspose2d), count(generator, nn.PixelShuffle)) == (transposed, shuffled)


def test_downsampling_is_strided_or_by_averages():
    for kind, strides, pools in (("stride", [(2, 2)] * 3, 0), ("average", [(1, 1)] * 3, 3)):
        _, discriminator = build(params("dcgan", {"downsample": kind}), (1, 32, 32))
        assert [layer.stride for layer in weighted(discriminator)[:-1]] == strides
        assert count(discriminator, nn.AvgPool2d) == pools


@pytest.mark.parametrize("upsample", ["transposed", "pixel_shuffle"])
def test_dcgans_g_has_biases_where_no_norm_has_them(upsample):
    for norm in ("none", "batch", "layer", "instance"):
        generator, _ = build(params("dcgan", {"norm_g": norm, "upsample": upsample}), (1, 32, 32))
        assert [layer.bias is not None for layer in weighted(generator)] == [norm == "none"] * 3 + [True]


def test_the_default_dcgan_keeps_the_names_of_its_weights():
    """Trained generators and first weights go by these names."""
    generator, discriminator = build(DcganParams(features=2), (1, 16, 16))
    norm = [f"{{}}.{name}" for name in ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")]
    named = ["1.weight", *(n.format(2) for n in norm), "4.weight", *(n.format(5) for n in norm), "7.weight", "7.bias"]
    assert list(generator.state_dict()) == named
    named = ["0.weight", "0.bias", "2.weight", "2.bias", *(n.format(3) for n in norm), "5.weight", "5.bias"]
    assert list(discriminator.state_dict()) == named
    generator, discriminator = build(DcganParams(features=2), (1, 8, 8))
    assert list(generator.state_dict()) == ["1.weight", *(n.format(2) for n in norm), "4.weight", "4.bias"]
    assert list(discriminator.state_dict()) == ["0.weight", "0.bias", "2.weight", "2.bias"]


def test_so_does_the_default_mlp():
    for network, first in zip(build(MlpParams(width=2), (2,)), (0, 1), strict=True):
        places = (first, first + 2, first + 4)
        assert list(network.state_dict()) == [f"{place}.{kind}" for place in places for kind in ("weight", "bias")]


def test_the_resnet_has_miyatos_channels():
    """Table 4 of Miyato et al. 2018 for 128x128 pixels, with 2 channels instead of 64."""
    generator, discriminator = build(ResnetParams(features=2), (3, 128, 128))
    convolutions = [[(c.in_channels, c.out_channels) for c in weighted(network) if isinstance(c, nn.Conv2d)]
                    for network in (generator, discriminator)]  # fmt: skip
    widths = [32, 32, 16, 8, 4, 2]
    blocks = [[(a, b), (b, b), (a, b)] for a, b in pairwise(widths)]
    assert convolutions[0] == [*chain.from_iterable(blocks), (2, 3)]
    widths = [3, 2, 4, 8, 16, 32]
    blocks = [[(a, b), (b, b), (a, b)] for a, b in pairwise(widths)]
    assert convolutions[1] == [*chain.from_iterable(blocks), (32, 32), (32, 32)]
    assert weighted(generator)[0].out_features == 32 * 4 * 4


def test_the_resnets_layers_are_in_this_order():
    generator, discriminator = build(params("resnet"), (3, 16, 16))
    up = "BatchNorm2d ReLU Upsample Conv2d BatchNorm2d ReLU Conv2d  Conv2d Upsample "
    assert [type(layer).__name__ for layer in leaves(generator)] == (
        "Linear Unflatten " + up + up + "BatchNorm2d ReLU Conv2d Tanh"
    ).split()
    first = "ParametrizedConv2d ReLU ParametrizedConv2d AvgPool2d  AvgPool2d ParametrizedConv2d "
    down = "ReLU ParametrizedConv2d ReLU ParametrizedConv2d AvgPool2d  AvgPool2d ParametrizedConv2d "
    flat = "ReLU ParametrizedConv2d ReLU ParametrizedConv2d  Identity "
    assert [type(layer).__name__ for layer in leaves(discriminator)] == (
        first + down + flat + "ReLU GlobalSum ParametrizedLinear"
    ).split()
    assert {layer.mode for layer in leaves(generator) if isinstance(layer, nn.Upsample)} == {"nearest"}


def test_the_resnets_biases_are_those_that_no_norm_and_no_other_bias_stands_for():
    for norm, inner in (("none", True), ("layer", False), ("batch", False)):
        generator, discriminator = build(params("resnet", {"norm_g": norm, "norm_d": norm}), (3, 16, 16))
        block = [inner, inner, False]
        assert [layer.bias is not None for layer in weighted(generator)] == [True, *block, *block, True]
        first, down, flat = [True, True, False], [inner, True, False], [inner, True]
        assert [layer.bias is not None for layer in weighted(discriminator)] == [*first, *down, *flat, True]


def test_the_pacgan_networks_are_the_papers():
    generator, discriminator = build(PacganParams(), (2,), latent=2)
    assert [(x.in_features, x.out_features) for x in weighted(generator)] == [(2, 400), *[(400, 400)] * 3, (400, 2)]
    assert [layer.bias is None for layer in weighted(generator)] == [True] * 4 + [False]
    assert (count(generator, nn.BatchNorm1d), count(generator, nn.ReLU)) == (4, 4)
    assert {layer.momentum for layer in leaves(generator) if isinstance(layer, nn.BatchNorm1d)} == {0.05}
    _, packed = build(PacganParams(), (4,), latent=2)
    for network, numbers in ((discriminator, 2), (packed, 4)):
        sizes = [(x.in_features, x.out_features) for x in weighted(network)]
        assert sizes == [(numbers, 1000), (200, 1000), (200, 1000), (200, 1)]
        assert [layer.pieces for layer in leaves(network) if isinstance(layer, Maxout)] == [5] * 3
        assert count(network, NORMS) == 0


# -- latents that are split --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["mlp", "dcgan", "resnet", "pacgan"])
def test_each_stage_sees_its_own_share_of_the_latent(name):
    generator, _ = build(params(name, {"split_latent": True}), (1, 32, 32), latent=11)
    assert isinstance(generator, SplitLatent)
    shares = generator.shares
    assert sum(shares) == 11
    assert max(shares) - min(shares) <= 1
    z, seen = latents(3, 11), []
    for stage in generator.stages:
        stage.register_forward_pre_hook(lambda _stage, inputs: seen.append(inputs[0]))
    generator(z)
    before = 0
    for place, (share, given) in enumerate(zip(shares, seen, strict=True)):
        own = z[:, before : before + share]
        places = given.shape[2:]
        expected = own.reshape(3, share, *[1] * len(places)).expand(-1, -1, *places)
        assert torch.equal(given[:, -share:], expected)
        assert (given.shape[1] > share) == (place > 0)
        before += share


@pytest.mark.parametrize(("name", "layers"), [("mlp", 4), ("dcgan", 3), ("resnet", 4), ("pacgan", 5)])
def test_a_latent_that_is_split_needs_a_number_for_each_layer(name, layers):
    split = params(name, {"split_latent": True})
    build(split, (1, 16, 16), latent=layers)
    message = rf"latent\.size must be at least {layers} with network\.split_latent.*latent\.size={layers - 1}"
    with pytest.raises(ConfigError, match=message):
        build(split, (1, 16, 16), latent=layers - 1)
    build(params(name), (1, 16, 16), latent=1)


def test_shares_are_as_even_as_can_be():
    assert shares_of(11, 4, MlpParams(split_latent=True)) == [3, 3, 3, 2]
    assert shares_of(8, 4, MlpParams(split_latent=True)) == [2, 2, 2, 2]
    assert shares_of(8, 3, MlpParams()) == [8, 0, 0]
