"""First weights: their distributions, and where their numbers come from."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.utils.parametrize import is_parametrized

from tests.trainers.networks.built import SMALL, build, draw, parameter_of, params, weighted
from trainers.draws import generator as random_generator
from trainers.networks.initial import initialise
from trainers.params.networks import DcganParams, MlpParams, PacganParams, ResnetParams

GAIN = 2 / (1 + 0.2**2)
LARGE = {
    "mlp": MlpParams(width=128),
    "dcgan": DcganParams(features=16),
    "resnet": ResnetParams(features=16),
    "pacgan": PacganParams(width_g=128, width_d=50),
}
every_network = pytest.mark.parametrize("name", SMALL)


def made(name, init, seed=3):
    given = LARGE[name]
    given = type(given).model_validate(given.model_dump() | {"init": init})
    return [layer for network in build(given, (3, 32, 32), seed=seed, latent=64) for layer in weighted(network)]


def num_inputs(layer):
    """Return how many numbers one output is a sum of, away from the border."""
    if isinstance(layer, nn.Linear):
        return layer.in_features
    if isinstance(layer, nn.Conv2d):
        return layer.in_channels * layer.kernel_size[0] * layer.kernel_size[1]
    return layer.in_channels * (4 if layer.stride == (2, 2) else 1)  # 4x4 taps over 2x2 outputs; a single pixel


@every_network
def test_he_keeps_the_variance_and_normal_has_std_0_02(name):
    for init in ("he", "normal"):
        for layer in made(name, init):
            weight = parameter_of(layer)
            expected = np.sqrt(GAIN / num_inputs(layer)) if init == "he" else 0.02
            # Six standard errors: each layer fails once in 5e8 seeds; the seed is fixed.
            assert abs(weight.std().item() - expected) < 6 * expected / np.sqrt(2 * weight.numel())
            assert abs(weight.mean().item()) < 6 * expected / np.sqrt(weight.numel())


@pytest.mark.parametrize("place", [0, 1])
def test_he_gives_an_output_of_a_transposed_convolution_the_gains_variance(place):
    layer = [layer for layer in made("dcgan", "he") if isinstance(layer, nn.ConvTranspose2d)][place]
    side = 1 if place == 0 else 8
    inputs = torch.randn(400, layer.in_channels, side, side, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        said = layer(inputs)
    inner = said if place == 0 else said[:, :, 2:-2, 2:-2]
    # Each of the 64 or more channels has a variance of its own that is off by sqrt(2 / inputs), 9 % or less of it;
    # their mean by 1.2 %. A fan that is wrong by any factor of 2 is far outside.
    assert abs(inner.var().item() / GAIN - 1) < 0.1


@every_network
def test_orthogonal_weights_have_orthonormal_rows_or_columns(name):
    for layer in made(name, "orthogonal"):
        matrix = parameter_of(layer).detach().double().flatten(1).numpy()
        product = matrix @ matrix.T if len(matrix) <= matrix.shape[1] else matrix.T @ matrix
        np.testing.assert_allclose(product, np.eye(len(product)), atol=1e-6)


def test_orthogonal_weights_have_no_sign_of_their_own():
    # Householder's QR alone always gives the first number of a row the same sign. Of 64 coins, 52 or more, or 12 or
    # fewer, fall on one side with a probability of 5e-7 (each sign: 1/2).
    signs = [draw(nn.Linear(5, 1), seed=seed, init="orthogonal").weight[0, 0].item() > 0 for seed in range(64)]
    assert 12 < sum(signs) < 52


@pytest.mark.parametrize("init", ["he", "normal", "orthogonal"])
@every_network
def test_biases_start_at_zero_and_norms_at_the_identity(name, init):
    for network in build(params(name, {"init": init}), (1, 16, 16)):
        drawn = {id(parameter_of(layer)) for layer in weighted(network)}
        for path, parameter in network.named_parameters():
            if id(parameter) not in drawn:
                assert (parameter == (1 if path.endswith("weight") else 0)).all(), path


@pytest.mark.parametrize("init", ["he", "normal", "orthogonal"])
def test_the_seed_the_name_and_the_layer_decide_the_numbers(init):
    def weights(seed, name):
        network = nn.Sequential(nn.Linear(6, 6), nn.Linear(6, 6))
        initialise(network, seed, name, init)
        return [layer.weight for layer in network]

    one, two = weights(5, "generator")
    assert not torch.equal(one, two)
    for seed, name in ((6, "generator"), (5 + 2**32, "generator"), (5, "discriminator")):
        assert not torch.equal(one, weights(seed, name)[0])
    assert torch.equal(one, weights(5, "generator")[0])


def test_streams_go_by_the_networks_name_and_the_layers_place():
    layer = made("mlp", "normal")[1]
    drawn = random_generator(3, "init/generator/2").standard_normal((128, 128), dtype=np.float32)
    np.testing.assert_array_equal(layer.weight.detach().numpy(), drawn * np.float32(0.02))


@pytest.mark.parametrize("name", ["mlp", "dcgan", "resnet"])
def test_a_layer_with_spectral_normalisation_is_drawn_as_one_without(name):
    plain, normalised = (
        weighted(build(params(name, {"norm_d": norm}), (1, 16, 16))[1]) for norm in ("none", "spectral")
    )
    assert all(is_parametrized(layer, "weight") for layer in normalised)
    for one, other in zip(plain, normalised, strict=True):
        assert torch.equal(one.weight, parameter_of(other))


def test_what_a_parametrization_remembers_is_drawn_too():
    def buffers(seed):
        _, discriminator = build(params("mlp", {"norm_d": "spectral"}), (2,), seed=seed)
        found = [buffer for path, buffer in discriminator.named_buffers() if "parametrizations" in path]
        assert found
        return torch.cat([buffer.flatten() for buffer in found])

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        one = buffers(3)
        torch.manual_seed(2)
        assert torch.equal(one, buffers(3))
    assert not torch.equal(one, buffers(4))
