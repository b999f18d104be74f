"""The gradient penalty against functions whose gradient is known; weight clipping."""

import pytest
import torch

from trainers.params.penalties import GradientPenaltyParams
from trainers.penalties import clip_share, clip_weights, input_gradient_norm, make_gradient, make_none
from trainers.registry import Params

IMAGES = (5, 2, 3, 3)


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def linear(weights):
    return lambda x: x.flatten(1) @ weights.reshape(-1, 1)


def term(weights, real, fake, mix, lambda_=10.0):
    return make_gradient(GradientPenaltyParams(lambda_=lambda_)).term(linear(weights), real, fake, {"mix": mix})


def test_the_norm_of_a_linear_function_is_that_of_its_weights_over_all_axes():
    weights = normal(18)
    norms = input_gradient_norm(linear(weights), normal(*IMAGES))
    torch.testing.assert_close(norms, weights.norm().expand(5))


def test_the_norm_of_a_quadratic_function_is_each_samples_own():
    scale, x = torch.tensor([1.0, -2.0, 0.5]), normal(4, 3)
    norms = input_gradient_norm(lambda p: 0.5 * (scale * p.square()).sum(1, keepdim=True), x)
    torch.testing.assert_close(norms, (scale * x).norm(dim=1))


def test_a_zero_gradient_has_finite_derivatives():
    weights = torch.zeros(3, requires_grad=True)
    value, _ = term(weights, normal(4, 3), normal(4, 3), torch.full((4,), 0.5))
    assert value.item() == pytest.approx(10, rel=1e-4)
    (derivative,) = torch.autograd.grad(value, weights)
    assert torch.isfinite(derivative).all()


def test_the_penalty_and_its_derivative_are_the_formula():
    weights = torch.tensor([3.0, 4.0], requires_grad=True)
    value, signals = term(weights, normal(6, 2), normal(6, 2, seed=1), normal(6).sigmoid(), lambda_=2.0)
    assert value.item() == pytest.approx(2 * (5 - 1) ** 2, rel=1e-5)
    (derivative,) = torch.autograd.grad(value, weights)
    torch.testing.assert_close(derivative, 2 * 2.0 * (5 - 1) * weights.detach() / 5)
    assert signals["penalty"].item() == value.item()
    assert signals["interpolate_norm"].item() == pytest.approx(5, rel=1e-5)
    assert not any(signal.requires_grad for signal in signals.values())


def test_it_is_two_sided():
    flat, steep = torch.tensor([0.5, 0.0]), torch.tensor([1.5, 0.0])
    points, mix = normal(3, 2), normal(3).sigmoid()
    assert term(flat, points, points, mix)[0].item() == pytest.approx(2.5, rel=1e-4)
    assert term(steep, points, points, mix)[0].item() == pytest.approx(2.5, rel=1e-4)


@pytest.mark.parametrize("shape", [(5, 2), IMAGES])
def test_each_sample_has_one_interpolation_weight_of_its_own(shape):
    seen, mix = [], torch.tensor([0.0, 0.25, 0.5, 0.75, 1.0])
    penalty = make_gradient(GradientPenaltyParams())

    def discriminator(points):
        seen.append(points.detach())
        return points.flatten(1).sum(1, keepdim=True)

    real, fake = normal(*shape), normal(*shape, seed=1)
    penalty.term(discriminator, real, fake, {"mix": mix})
    expected = torch.stack([share * r + (1 - share) * f for share, r, f in zip(mix, real, fake, strict=True)])
    torch.testing.assert_close(seen[0], expected)


def test_it_asks_for_one_weight_a_sample_in_the_unit_interval():
    (draw,) = make_gradient(GradientPenaltyParams()).draws(7)
    assert (draw.name, draw.prior, draw.shape, draw.every) == ("mix", "unit", (7,), 1)


def test_the_order_of_the_batch_does_not_matter():
    def curved(x):
        return x.square().sum(1, keepdim=True) + x.prod(1, keepdim=True)

    real, fake, mix = normal(6, 3), normal(6, 3, seed=1), normal(6, seed=2).sigmoid()
    order = torch.tensor([3, 0, 5, 1, 4, 2])
    penalty = make_gradient(GradientPenaltyParams())
    one, _ = penalty.term(curved, real, fake, {"mix": mix})
    other, _ = penalty.term(curved, real[order], fake[order], {"mix": mix[order]})
    torch.testing.assert_close(one, other)


@pytest.mark.parametrize("lambda_", [0.0, 0.1, 1.0, 100.0])
def test_lambda_scales_the_term(lambda_):
    arguments = (normal(3), normal(4, 3), normal(4, 3, seed=1), normal(4).sigmoid())
    unit = term(*arguments, lambda_=1.0)[0].item()
    assert unit > 0
    assert term(*arguments, lambda_=lambda_)[0].item() == pytest.approx(lambda_ * unit)


def test_the_penalty_called_none_adds_nothing():
    none = make_none(Params(name="none"))
    value, signals = none.term(linear(normal(3)), normal(4, 3), normal(4, 3), {})
    assert (value.item(), signals, none.draws(4), none.signals) == (0, {}, (), ())


def test_clipping_bounds_every_weight_in_place_and_leaves_the_others():
    weights = [torch.tensor([-5.0, -0.02, 0.5], requires_grad=True), torch.tensor([[0.1], [0.3]])]
    clip_weights(weights, 0.1)
    assert weights[0].tolist() == pytest.approx([-0.1, -0.02, 0.1])
    assert weights[1].flatten().tolist() == pytest.approx([0.1, 0.1])


def test_the_clip_share_counts_the_weights_at_the_clip():
    weights = [torch.tensor([-0.01, 0.01, 0.0, 0.009]), torch.tensor([[0.005], [0.01]])]
    assert clip_share(weights, 0.01).item() == pytest.approx(3 / 6)
