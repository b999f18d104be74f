"""Spectral normalisation against the singular value decomposition."""

import copy

import numpy as np
import pytest
import torch
from torch import nn

from tests.fakes.trainings import tiny
from trainers import networks
from trainers.networks.initial import initialise
from trainers.networks.spectral import Spectral, spectral

ROOM = 1e-5  # of float32 around a norm of 1
LAYERS = {
    "linear": (lambda: nn.Linear(7, 5), (3, 7)),
    "wide": (lambda: nn.Linear(3, 9), (3, 3)),
    "convolution": (lambda: nn.Conv2d(3, 4, 3, stride=2, padding=1), (2, 3, 8, 8)),
    "transposed": (lambda: nn.ConvTranspose2d(3, 4, 4, 2, 1), (2, 3, 4, 4)),
}


def rng(key=0):
    return np.random.Generator(np.random.Philox(key=key))


def normal(*shape, key=1):
    return torch.from_numpy(rng(key).standard_normal(shape, dtype=np.float32))


def built(name):
    """Return a normalised layer with weights of its own, and some input for it."""
    make, shape = LAYERS[name]
    with torch.random.fork_rng(devices=[]):
        layer = make()
    with torch.no_grad():
        layer.weight.copy_(0.7 * normal(*layer.weight.shape))
        layer.bias.zero_()
    made = spectral(layer)
    memory(made).reset(rng(2))
    return made, normal(*shape, key=3)


def memory(layer) -> Spectral:
    return layer.parametrizations.weight[0]


def original(layer):
    return layer.parametrizations.weight.original


def matrix_of(layer):
    """Return the parameter as a matrix with a row an output, float64."""
    values = original(layer).detach().double().numpy()
    if isinstance(layer, nn.ConvTranspose2d):
        values = values.swapaxes(0, 1)
    return values.reshape(values.shape[0], -1)


def converge(layer):
    with torch.no_grad():
        for _ in range(500):
            memory(layer)(original(layer))


def one_iteration(matrix, u):
    v = matrix.T @ u
    v /= np.linalg.norm(v)
    u = matrix @ v
    return u / np.linalg.norm(u), v


@pytest.mark.parametrize("name", LAYERS)
def test_after_many_passes_it_is_the_weight_divided_by_its_largest_singular_value(name):
    layer, _ = built(name)
    converge(layer)
    layer.eval()
    largest = np.linalg.svd(matrix_of(layer), compute_uv=False)[0]
    expected = original(layer).detach().double().numpy() / largest
    np.testing.assert_allclose(layer.weight.detach().numpy(), expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("name", LAYERS)
def test_each_pass_in_training_is_one_power_iteration(name):
    layer, inputs = built(name)
    u, matrix = memory(layer).u.double().numpy(), matrix_of(layer)
    for _ in range(3):
        u, _ = one_iteration(matrix, u)
        layer(inputs)
        np.testing.assert_allclose(memory(layer).u.numpy(), u, rtol=1e-4, atol=1e-5)
    layer.eval()
    before = memory(layer).u.clone()
    layer(inputs)
    assert memory(layer).u.equal(before)
    sigma = u @ matrix @ one_iteration(matrix, u)[1]
    expected = original(layer).detach().double().numpy() / sigma
    np.testing.assert_allclose(layer.weight.detach().numpy(), expected, rtol=1e-4, atol=1e-6)


def test_the_first_pass_is_divided_by_what_one_iteration_gives():
    layer, inputs = built("linear")
    matrix = matrix_of(layer)
    u, v = one_iteration(matrix, memory(layer).u.double().numpy())
    expected = inputs.double().numpy() @ (matrix / (u @ matrix @ v)).T
    np.testing.assert_allclose(layer(inputs).detach().numpy(), expected, rtol=1e-4, atol=1e-5)


def test_the_gradient_goes_through_the_weight_alone_and_through_sigma_too():
    """Of c . W / (u' W v) with u and v fixed it is (c - <c, W> / sigma u v') / sigma (Miyato 2018, eq. 12)."""
    layer, _ = built("linear")
    matrix, direction = matrix_of(layer), normal(5, 7, key=8)
    u, v = one_iteration(matrix, memory(layer).u.double().numpy())
    sigma = u @ matrix @ v
    (derivative,) = torch.autograd.grad((direction * layer.weight).sum(), original(layer))
    c = direction.double().numpy()
    expected = (c - (c * matrix).sum() / sigma * np.outer(u, v)) / sigma
    np.testing.assert_allclose(derivative.numpy(), expected, rtol=1e-4, atol=1e-5)


def test_two_passes_can_be_differentiated_together():
    layer, inputs = built("linear")
    (derivative,) = torch.autograd.grad((layer(inputs) - layer(-inputs)).square().sum(), original(layer))
    assert torch.isfinite(derivative).all()
    layer.eval()
    held = layer(inputs).square().sum()
    layer.train()
    layer(inputs)  # which changes u
    assert torch.isfinite(torch.autograd.grad(held, original(layer))[0]).all()


def critic(depth=4):
    """Return a discriminator of normalised linear layers with LeakyReLU, after many passes."""
    params = tiny(network={"name": "mlp", "width": 16, "depth": depth, "norm_d": "spectral"}).network
    with torch.random.fork_rng(devices=[]):
        made = networks.load(params).discriminator((6,), 1)
    initialise(made, 5, "discriminator", "he")
    for layer in linear_layers(made):
        converge(layer)
    return made


def linear_layers(network):
    return [layer for layer in network.modules() if isinstance(layer, nn.Linear)]


def slopes(discriminator, points):
    points = points.requires_grad_(True)
    (gradient,) = torch.autograd.grad(discriminator(points).sum(), points, create_graph=True)
    return gradient.norm(dim=1)


def test_a_network_of_normalised_layers_is_nowhere_steeper_than_1():
    discriminator = critic()
    found = slopes(discriminator, 10 * normal(500, 6, key=4))
    assert found.max().item() <= 1 + 1e-3
    assert found.max().item() > 1e-2
    with torch.no_grad():
        for layer in linear_layers(discriminator):
            original(layer).mul_(50)  # has no effect
    torch.testing.assert_close(slopes(discriminator, 10 * normal(500, 6, key=4)), found)


def test_a_penalty_on_its_gradient_can_be_differentiated():
    discriminator = critic(depth=1).double()
    points = normal(5, 6, key=6).double()
    discriminator.eval()

    def value():
        return (slopes(discriminator, points.clone()) - 1).square().mean()

    weight = original(linear_layers(discriminator)[0])
    (derivative,) = torch.autograd.grad(value(), weight)
    assert torch.isfinite(derivative).all()
    # At the singular vectors sigma is stationary in u and v, so that differences see what the gradient sees.
    with torch.no_grad():
        weight[2, 3] += 1e-6
    above = value().item()
    with torch.no_grad():
        weight[2, 3] -= 2e-6
    below = value().item()
    assert derivative[2, 3].item() == pytest.approx((above - below) / 2e-6, rel=1e-3, abs=1e-6)


def test_a_copy_is_equal_and_goes_its_own_way():
    layer, inputs = built("convolution")
    layer(inputs)
    twin = copy.deepcopy(layer)
    assert twin(inputs).equal(layer(inputs))
    kept = memory(layer).u.clone()
    with torch.no_grad():
        original(twin).add_(1)
    twin(inputs)
    assert memory(layer).u.equal(kept)
    assert not memory(twin).u.equal(kept)
    assert not original(twin).equal(original(layer))


@pytest.mark.parametrize("name", LAYERS)
def test_a_state_fits_into_a_freshly_built_layer(name):
    layer, inputs = built(name)
    for _ in range(3):
        layer(inputs)
    state = {key: value.clone() for key, value in layer.state_dict().items()}
    assert set(state) == {"bias", "parametrizations.weight.original", "parametrizations.weight.0.u"}
    make, _ = LAYERS[name]
    with torch.random.fork_rng(devices=[]):
        fresh = spectral(make())
    fresh.load_state_dict(state)
    for _ in range(3):
        assert fresh(inputs).equal(layer(inputs))
    assert memory(fresh).u.equal(memory(layer).u)


def test_only_the_weight_and_the_bias_are_trained():
    layer, _ = built("linear")
    assert dict(layer.named_parameters()).keys() == {"bias", "parametrizations.weight.original"}
    assert dict(layer.named_buffers()).keys() == {"parametrizations.weight.0.u"}


def test_nothing_comes_from_the_global_generator():
    with torch.random.fork_rng(devices=[]):
        layers = []
        for seed in (1, 2):
            torch.manual_seed(seed)
            layer = nn.Linear(4, 9)
            before = torch.get_rng_state()
            layers.append(spectral(layer))
            assert torch.get_rng_state().equal(before)
    assert memory(layers[0]).u.equal(torch.full((9,), 1 / 3))
    assert memory(layers[1]).u.equal(memory(layers[0]).u)


def test_a_reset_draws_a_direction_from_the_generator_it_is_given():
    layer, _ = built("linear")
    drawn = {}
    for key in (1, 1, 2):
        memory(layer).reset(rng(key))
        values = rng(key).standard_normal(5)
        np.testing.assert_allclose(memory(layer).u.numpy(), values / np.linalg.norm(values), rtol=1e-6)
        drawn[key] = memory(layer).u.clone()
    assert not drawn[1].equal(drawn[2])


def test_initial_weights_and_directions_are_drawn_by_name_and_seed():
    params = tiny(network={"name": "mlp", "width": 6, "depth": 2, "norm_d": "spectral"}).network
    states = []
    for seed in (3, 3, 4):
        with torch.random.fork_rng(devices=[]):
            made = networks.load(params).discriminator((4,), 1)
        initialise(made, seed, "discriminator", "he")
        states.append(made.state_dict())
    directions = [key for key in states[0] if key.endswith(".u")]
    assert len(directions) == 3
    assert all(states[0][key].equal(states[1][key]) for key in states[0])
    for key in directions[:2]:  # the last layer has one output, and so one direction or its opposite
        assert not states[0][key].equal(states[2][key])
        assert states[0][key].norm().item() == pytest.approx(1, abs=ROOM)
    assert not states[0][directions[0]].equal(states[0][directions[1]])


@pytest.mark.parametrize("layer", [nn.ReLU(), nn.BatchNorm1d(3), nn.BatchNorm1d(3, affine=False)])
def test_a_layer_without_a_matrix_is_refused(layer):
    with pytest.raises(ValueError, match="whose weight is a matrix or kernel"):
        spectral(layer)
