"""Learning rates' decay and decoupled weight decay against their formulas."""

import math

import numpy as np
import pytest
import torch

from trainers.config import OptimConfig
from trainers.optimizers import of_discriminator, of_generator, rate

STEPS = 100


def rates(steps=STEPS, **optim):
    config = OptimConfig(**optim)
    return [rate(config, step, steps) for step in range(1, steps + 1)]


def test_without_decay_the_rate_is_1():
    assert rates(decay_from=3, decay_every=2, decay_factor=0.1) == [1.0] * STEPS


@pytest.mark.parametrize("start", [0, 1, 40, 99])
def test_the_linear_decay_is_a_line_to_0_after_the_last_step(start):
    """As in a loop that sets the rate to 1 - done / all before each of the steps after the first `start`."""
    expected = [1.0] * start + [1 - i / (STEPS - start) for i in range(STEPS - start)]
    assert rates(decay="linear", decay_from=start) == pytest.approx(expected, rel=1e-12)
    assert rates(decay="linear", decay_from=start)[-1] == pytest.approx(1 / (STEPS - start))


@pytest.mark.parametrize("start", [0, 30])
def test_the_cosine_decay_is_half_a_wave(start):
    expected = [1.0] * start + [(1 + math.cos(math.pi * i / (STEPS - start))) / 2 for i in range(STEPS - start)]
    assert rates(decay="cosine", decay_from=start) == pytest.approx(expected, rel=1e-12)
    assert rates(decay="cosine")[50] == pytest.approx(0.5)


@pytest.mark.parametrize("start", [0, 7])
def test_the_step_decay_multiplies_every_so_many_steps(start):
    found = rates(decay="step", decay_from=start, decay_every=10, decay_factor=0.5)
    assert found == [0.5 ** (max(0, step - start) // 10) for step in range(STEPS)]
    assert found[start : start + 11] == [1.0] * 10 + [0.5]


@pytest.mark.parametrize("decay", ["linear", "cosine", "step"])
@pytest.mark.parametrize("start", [100, 500])
def test_a_decay_that_begins_after_the_end_never_does(decay, start):
    assert rates(decay=decay, decay_from=start, decay_every=1) == [1.0] * STEPS


@pytest.mark.parametrize("decay", ["none", "linear", "cosine", "step"])
def test_a_rate_is_in_the_unit_interval_and_never_rises(decay):
    found = rates(decay=decay, decay_from=13, decay_every=3, decay_factor=0.7)
    assert all(0 < one <= 1 for one in found)
    assert found == sorted(found, reverse=True)


def weights(key=0):
    drawn = np.random.Generator(np.random.Philox(key=key)).standard_normal((2, 3))
    return torch.from_numpy(drawn).requires_grad_(True)


def stepped(made, weight, gradient, step):
    weight.grad = torch.from_numpy(gradient.copy())
    made["before"](step)
    made["optimizer"].step()


GRADIENTS = np.random.Generator(np.random.Philox(key=5)).standard_normal((4, 2, 3))


class Adam:
    """Kingma and Ba 2015, algorithm 1, whose weights decay as in Loshchilov and Hutter 2019, algorithm 2."""

    def __init__(self, start, beta1, beta2):
        self.x, self.m, self.v, self.t = start.copy(), 0, 0, 0
        self.beta1, self.beta2 = beta1, beta2

    def step(self, g, lr, decay):
        self.t += 1
        self.x = self.x - lr * decay * self.x
        self.m = self.beta1 * self.m + (1 - self.beta1) * g
        self.v = self.beta2 * self.v + (1 - self.beta2) * g**2
        m, v = self.m / (1 - self.beta1**self.t), self.v / (1 - self.beta2**self.t)
        self.x = self.x - lr * m / (np.sqrt(v) + 1e-8)


class RmsProp:
    """Tieleman and Hinton 2012, with torch's place of epsilon; its steps are averaged exponentially."""

    def __init__(self, start, beta1, beta2):
        self.x, self.v, self.b = start.copy(), 0, 0
        self.beta1, self.beta2 = beta1, beta2

    def step(self, g, lr, decay):
        self.x = self.x - lr * decay * self.x
        self.v = self.beta2 * self.v + (1 - self.beta2) * g**2
        self.b = self.beta1 * self.b + (1 - self.beta1) * g / (np.sqrt(self.v) + 1e-8)
        self.x = self.x - lr * self.b


@pytest.mark.parametrize("decay", ["none", "linear"])
@pytest.mark.parametrize("weight_decay", [0.0, 0.3])
@pytest.mark.parametrize(("name", "formula"), [("adam", Adam), ("rmsprop", RmsProp)])
@pytest.mark.parametrize("of", [of_discriminator, of_generator])
def test_four_steps_are_those_of_the_formula(of, name, formula, weight_decay, decay):
    numbers = {"lr_d": 0.02, "lr_g": 0.05, "beta1": 0.4, "beta2": 0.9, "beta1_g": 0.3, "beta2_g": 0.8}
    optim = OptimConfig(name=name, **numbers, weight_decay=weight_decay, decay=decay)
    weight = weights()
    lr, betas = (0.02, (0.4, 0.9)) if of is of_discriminator else (0.05, (0.3, 0.8))
    expected = formula(weight.detach().numpy(), *betas)
    made = of(optim, [weight], 4)
    for step, gradient in enumerate(GRADIENTS, 1):
        stepped(made, weight, gradient, step)
        now = lr * (1 - (step - 1) / 4 if decay == "linear" else 1)
        expected.step(gradient, now, weight_decay)
        np.testing.assert_allclose(weight.detach().numpy(), expected.x, rtol=1e-6, atol=1e-9)


def test_a_decayed_weight_does_not_touch_the_gradients_averages():
    weight, plain = weights(), weights()
    decayed = of_discriminator(OptimConfig(weight_decay=0.5), [weight], 4)
    without = of_discriminator(OptimConfig(), [plain], 4)
    for step, gradient in enumerate(GRADIENTS, 1):
        stepped(decayed, weight, gradient, step)
        stepped(without, plain, gradient, step)
    for key in ("exp_avg", "exp_avg_sq"):
        assert decayed["optimizer"].state[weight][key].equal(without["optimizer"].state[plain][key])
    assert not weight.equal(plain)


@pytest.mark.parametrize("of", [of_discriminator, of_generator])
def test_the_rate_is_a_function_of_the_step_alone(of):
    optim = OptimConfig(decay="cosine", lr_d=0.1, lr_g=0.2)
    made = of(optim, [weights()], 10)
    base = 0.1 if of is of_discriminator else 0.2
    for step in (7, 2, 10, 2):
        made["before"](step)
        assert made["optimizer"].param_groups[0]["lr"] == base * (1 + math.cos(math.pi * (step - 1) / 10)) / 2


@pytest.mark.parametrize(
    ("own", "expected"),
    [
        ({}, (0.3, 0.95)),
        ({"beta1_g": 0.0}, (0.0, 0.95)),
        ({"beta2_g": 0.0}, (0.3, 0.0)),
        ({"beta1_g": 0.8}, (0.8, 0.95)),
    ],
)
def test_a_beta_of_g_that_is_not_given_is_ds(own, expected):
    optim = OptimConfig(beta1=0.3, beta2=0.95, **own)
    (group,) = of_generator(optim, [weights()], 10)["optimizer"].param_groups
    assert group["betas"] == expected
    (group,) = of_discriminator(optim, [weights()], 10)["optimizer"].param_groups
    assert group["betas"] == (0.3, 0.95)
