"""Each penalty against discriminators whose gradient is known; weight clipping."""

import numpy as np
import pytest
import torch
from torch import nn

from tests.fakes.trainings import tiny
from trainers.networks.autoencoder import AutoEncoder
from trainers.penalties import Penalty, clip_weights, root, squared_slope
from trainers.registry import Params, find

ROWS, SHAPE = 6, (2, 3, 3)
OF_SLOPES = ("gradient", "gradient_one_sided", "r1", "r2", "r1_r2", "dragan")
WEIGHTED = (*OF_SLOPES, "l2")


def penalty(name, **params) -> Penalty:
    variant = find("penalty", name)
    return variant.load_make()(variant.load_params().model_validate({"name": name, **params}))


def numbers(*shape, seed=0):
    return np.random.Generator(np.random.Philox(key=seed)).standard_normal(shape)


def unit(*shape, seed=0):
    return np.random.Generator(np.random.Philox(key=seed)).random(shape)


def inputs(shape=SHAPE):
    """Return real and fake samples and draws, float64; each number is another one."""
    drawn = {"mix": unit(ROWS, seed=3), "perturbation": unit(ROWS, *shape, seed=4)}
    return numbers(ROWS, *shape, seed=1), 2 * numbers(ROWS, *shape, seed=2), drawn


def of(made, discriminator, real, fake, drawn):
    batch = {name: torch.from_numpy(value) for name, value in drawn.items()}
    return made.term(discriminator, torch.from_numpy(real), torch.from_numpy(fake), batch)


def points_of(name, real, fake, drawn):
    """Return where a penalty looks, worked out sample by sample."""
    if name == "r1_r2":
        return np.concatenate((real, fake))
    if name in ("r1", "r2"):
        return real if name == "r1" else fake
    found = []
    for row, mix in enumerate(drawn["mix"]):
        if name == "dragan":
            found.append(
                real[row] + mix * 0.5 * np.sqrt(np.mean((real - real.mean()) ** 2)) * drawn["perturbation"][row]
            )
        else:
            found.append(mix * real[row] + (1 - mix) * fake[row])
    return np.stack(found)


def cost_of(name, norms):
    if name == "r1_r2":
        return norms[: len(norms) // 2] ** 2 / 2 + norms[len(norms) // 2 :] ** 2 / 2
    if name in ("r1", "r2"):
        return norms**2 / 2
    return np.maximum(0, norms - 1) ** 2 if name == "gradient_one_sided" else (norms - 1) ** 2


class Linear(nn.Module):
    """w . x, whose gradient is w everywhere."""

    def __init__(self, weights):
        super().__init__()
        self.weights = nn.Parameter(torch.from_numpy(np.array(weights, dtype=np.float64)))

    def forward(self, x):
        return x.flatten(1) @ self.weights.reshape(-1, 1)


class Quadratic(nn.Module):
    """x' A x with a symmetric A, whose gradient is 2 A x."""

    def __init__(self, matrix):
        super().__init__()
        self.matrix = nn.Parameter(torch.from_numpy(matrix))

    def forward(self, x):
        flat = x.flatten(1)
        return (flat @ self.matrix * flat).sum(1, keepdim=True)


def symmetric(size, scale):
    drawn = numbers(size, size, seed=9)
    return scale * (drawn + drawn.T)


# -- values ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(2,), SHAPE])
@pytest.mark.parametrize("scale", [0.02, 0.5])  # slopes below and above 1
@pytest.mark.parametrize("name", OF_SLOPES)
def test_a_penalty_is_its_formula_on_a_quadratic_function(name, scale, shape):
    real, fake, drawn = inputs(shape)
    matrix = symmetric(int(np.prod(shape)), scale)
    points = points_of(name, real, fake, drawn)
    norms = np.linalg.norm(2 * points.reshape(len(points), -1) @ matrix, axis=1)
    term, signals = of(penalty(name, **{"lambda": 3.0}), Quadratic(matrix), real, fake, drawn)
    assert term.item() == pytest.approx(3 * cost_of(name, norms).mean(), rel=1e-9, abs=1e-12)
    assert signals["penalty"].item() == term.item()
    assert signals["interpolate_norm"].item() == pytest.approx(norms.mean(), rel=1e-9)
    assert not any(signal.requires_grad for signal in signals.values())


EXPECTED = {  # at slopes of 1/2 and of 5, lambda 2
    "gradient": (0.5, 32),
    "gradient_one_sided": (0, 32),
    "r1": (0.25, 25),
    "r2": (0.25, 25),
    "r1_r2": (0.5, 50),
    "dragan": (0.5, 32),
}


@pytest.mark.parametrize("name", OF_SLOPES)
def test_a_penalty_is_its_formula_on_a_linear_function(name):
    for weights, expected in zip(([0.3, -0.4], [3, 4]), EXPECTED[name], strict=True):
        term, signals = of(penalty(name, **{"lambda": 2.0}), Linear(weights), *inputs((2,)))
        assert term.item() == pytest.approx(expected, rel=1e-9)
        assert signals["interpolate_norm"].item() == pytest.approx(np.hypot(*weights), rel=1e-9)


@pytest.mark.parametrize("name", OF_SLOPES)
def test_its_derivative_with_respect_to_the_weights_is_that_of_the_formula(name):
    """Central differences of the formula, in steps of 1e-6: good to about 1e-9."""
    arguments, size = inputs((3,)), 3
    matrix = symmetric(size, 0.4)

    def formula(changed):
        norms = np.linalg.norm(2 * points_of(name, *arguments) @ changed, axis=1)
        return 10 * cost_of(name, norms).mean()

    discriminator = Quadratic(matrix)
    (derivative,) = torch.autograd.grad(of(penalty(name), discriminator, *arguments)[0], discriminator.parameters())
    for row in range(size):
        for column_ in range(row, size):
            change = np.zeros_like(matrix)
            change[row, column_] = change[column_, row] = 1e-6
            slope = (formula(matrix + change) - formula(matrix - change)) / 2e-6
            ours = derivative[row, column_] + (derivative[column_, row] if row != column_ else 0)
            assert ours.item() == pytest.approx(slope, rel=1e-5, abs=1e-6)


def test_l2_is_half_the_squared_weights_on_the_mean_of_the_layers_and_leaves_out_biases_and_norms():
    net = nn.Sequential(nn.Conv2d(1, 2, 3), nn.GroupNorm(1, 2), nn.Flatten(), nn.Linear(8, 4), nn.LayerNorm(4)).double()
    value, signals = of(penalty("l2", **{"lambda": 0.3}), net, *inputs())
    squares = [(layer.weight.detach().numpy() ** 2).sum() for layer in (net[0], net[3])]
    assert value.item() == pytest.approx(0.3 * sum(squares) / 2 / 2, rel=1e-12)
    assert signals == {"penalty": value}
    gradients = dict(zip(dict(net.named_parameters()), grads(value, net), strict=True))
    torch.testing.assert_close(gradients.pop("0.weight"), 0.3 * net[0].weight.detach() / 2)
    torch.testing.assert_close(gradients.pop("3.weight"), 0.3 * net[3].weight.detach() / 2)
    assert all(gradient is None for gradient in gradients.values())


def grads(value, net):
    return torch.autograd.grad(value, list(net.parameters()), allow_unused=True)


def test_the_penalty_called_none_adds_nothing():
    none = penalty("none")
    value, signals = none.term(Linear([1.0]), torch.zeros(4, 3), torch.zeros(4, 3), {})
    assert (value.item(), signals, none.draws(4, (3,)), none.signals) == (0, {}, (), ())


@pytest.mark.parametrize("lambda_", [0.0, 0.1, 1.0, 100.0])
@pytest.mark.parametrize("name", WEIGHTED)
def test_lambda_scales_the_term(name, lambda_):
    arguments, discriminator = inputs((3,)), Quadratic(symmetric(3, 0.7))
    one = of(penalty(name, **{"lambda": 1.0}), discriminator, *arguments)[0].item()
    assert one > 0
    scaled = of(penalty(name, **{"lambda": lambda_}), discriminator, *arguments)[0].item()
    assert scaled == pytest.approx(lambda_ * one, rel=1e-12)


# -- where they look ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(2,), SHAPE])
@pytest.mark.parametrize("name", OF_SLOPES)
def test_the_points_are_those_of_the_paper_with_one_weight_a_sample(name, shape):
    seen = []

    def discriminator(points):
        seen.append(points.detach().numpy())
        return points.flatten(1).sum(1, keepdim=True)

    arguments = inputs(shape)
    of(penalty(name), discriminator, *arguments)
    np.testing.assert_allclose(seen[0], points_of(name, *arguments), rtol=1e-12)


@pytest.mark.parametrize("name", OF_SLOPES)
def test_the_order_of_the_batch_does_not_matter(name):
    real, fake, drawn = inputs((3,))
    order = [3, 0, 5, 1, 4, 2]
    made, discriminator = penalty(name), Quadratic(symmetric(3, 0.7))
    one, _ = of(made, discriminator, real, fake, drawn)
    other, _ = of(made, discriminator, real[order], fake[order], {key: value[order] for key, value in drawn.items()})
    assert other.item() == pytest.approx(one.item(), rel=1e-12)


@pytest.mark.parametrize(
    ("name", "shapes"),
    [
        ("gradient", {"mix": (7,)}),
        ("gradient_one_sided", {"mix": (7,)}),
        ("dragan", {"mix": (7,), "perturbation": (7, 4, 5)}),
        *((name, {}) for name in ("r1", "r2", "r1_r2", "l2")),
    ],
)
def test_it_asks_for_numbers_of_the_unit_interval_at_the_steps_at_which_it_is_due(name, shapes):
    draws = penalty(name, every=3).draws(7, (4, 5))
    assert {draw.name: draw.shape for draw in draws} == shapes
    assert {draw.prior for draw in draws} <= {"unit"}
    assert all([step for step in range(1, 10) if draw.due(step)] == [3, 6, 9] for draw in draws)


@pytest.mark.parametrize("name", OF_SLOPES)
def test_a_zero_gradient_has_finite_derivatives(name):
    discriminator = Linear([0.0, 0.0])
    value, signals = of(penalty(name), discriminator, *inputs((2,)))
    expected = 10.0 if name in ("gradient", "dragan") else 0.0
    assert value.item() == pytest.approx(expected, rel=1e-4, abs=1e-4)
    (derivative,) = torch.autograd.grad(value, discriminator.parameters())
    assert torch.isfinite(derivative).all()
    assert signals["interpolate_norm"].item() == pytest.approx(0, abs=1e-5)


def test_the_slope_is_that_over_all_axes_of_a_sample():
    weights, points = numbers(18, seed=5), torch.from_numpy(numbers(5, *SHAPE))
    squared = squared_slope(Linear(weights), points)
    np.testing.assert_allclose(root(squared).detach().numpy(), np.full(5, np.linalg.norm(weights)), rtol=1e-9)


def test_the_gradient_of_an_auto_encoder_is_that_of_its_energy():
    """With D(x) = mean (x - a x)^2 over n numbers the gradient is 2 (1 - a)^2 x / n."""
    scaled = nn.Linear(3, 3, bias=False).double()
    with torch.no_grad():
        scaled.weight.copy_(0.25 * torch.eye(3))
    real, fake, drawn = inputs((3,))
    _, signals = of(penalty("r1"), AutoEncoder(nn.Identity(), scaled, 2), real, fake, drawn)
    expected = np.linalg.norm(2 * 0.75**2 * real / 3, axis=1).mean()
    assert signals["interpolate_norm"].item() == pytest.approx(expected, rel=1e-9)


# -- weight clipping ---------------------------------------------------------------------------------------------------


def test_clipping_bounds_every_weight_in_place_and_leaves_the_others():
    weights = [torch.tensor([-5.0, -0.02, 0.5], requires_grad=True), torch.tensor([[0.1], [0.3]])]
    clip_weights(weights, 0.1)
    assert weights[0].tolist() == pytest.approx([-0.1, -0.02, 0.1])
    assert weights[1].flatten().tolist() == pytest.approx([0.1, 0.1])


def test_the_shipped_default_is_no_penalty():
    assert isinstance(tiny().penalty, Params)
    assert tiny().penalty.name == "none"
