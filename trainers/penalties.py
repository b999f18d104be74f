"""Gradient penalties and weight clipping."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import nn

from trainers.draws import Draw, every
from trainers.params.penalties import (
    DraganPenaltyParams,
    GradientPenaltyParams,
    L2PenaltyParams,
    OneSidedPenaltyParams,
    R1PenaltyParams,
    R1R2PenaltyParams,
    R2PenaltyParams,
    WeightedPenaltyParams,
)
from trainers.registry import Params

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor

    Batch = Mapping[str, Tensor]
    Term = Callable[[nn.Module, Tensor, Tensor, Batch], tuple[Tensor, dict[str, Tensor]]]
    Cost = Callable[[Float[Tensor, "batch"]], Float[Tensor, "batch"]]

# Under the square root: the norm's derivative at a zero gradient is then 0 instead of NaN.
EPSILON = 1e-12


@dataclass(frozen=True, kw_only=True)
class Penalty:
    """A term of D's loss.

    Attributes:
        draws: the random tensors that it needs, for a batch size and the shape of what D sees.
        signals: names of what `term` returns beside the term itself.
        term: (D, real, fake, batch) to the weighted term and its signals.
    """

    draws: Callable[[int, tuple[int, ...]], tuple[Draw, ...]] = lambda _size, _shape: ()
    signals: tuple[str, ...] = ()
    term: Term


# -- penalties on the gradient of D's output with respect to each sample -----------------------------------------------


def squared_slope(discriminator: nn.Module, points: Float[Tensor, "batch *shape"]) -> Float[Tensor, "batch"]:
    """Return |grad_x D(x)|_2^2 of each sample, over all of its axes, differentiable once more."""
    points = points.detach().requires_grad_(True)
    (gradient,) = torch.autograd.grad(discriminator(points).sum(), points, create_graph=True)
    return gradient.flatten(1).square().sum(1)


def root(squared: Float[Tensor, "batch"]) -> Float[Tensor, "batch"]:
    """Return the square root, whose derivative at 0 is finite."""
    return (squared + EPSILON).sqrt()


def _two_sided(squared: Float[Tensor, "batch"]) -> Float[Tensor, "batch"]:
    return (root(squared) - 1).square()


def _one_sided(squared: Float[Tensor, "batch"]) -> Float[Tensor, "batch"]:
    return (root(squared) - 1).relu().square()


def _half(squared: Float[Tensor, "batch"]) -> Float[Tensor, "batch"]:
    return squared / 2


def _whole(squared: Float[Tensor, "batch"]) -> Float[Tensor, "batch"]:
    return squared


def _real(real: Tensor, _fake: Tensor, _batch: Batch) -> Tensor:
    return real


def _fake(_real: Tensor, fake: Tensor, _batch: Batch) -> Tensor:
    return fake


def _both(real: Tensor, fake: Tensor, _batch: Batch) -> Tensor:
    return torch.cat((real, fake))


def _between(real: Tensor, fake: Tensor, batch: Batch) -> Tensor:
    mix = _for_each(batch["mix"], real)
    return mix * real + (1 - mix) * fake


def _around(real: Tensor, _fake: Tensor, batch: Batch) -> Tensor:
    std = real.std(correction=0)  # of all numbers of the batch together
    return real + _for_each(batch["mix"], real) * (std / 2) * batch["perturbation"]


def _for_each(weights: Float[Tensor, "batch"], samples: Float[Tensor, "batch *shape"]) -> Tensor:
    return weights.view(-1, *[1] * (samples.dim() - 1))


def _of_slopes(
    params: WeightedPenaltyParams,
    *,
    points: Callable[[Tensor, Tensor, Batch], Tensor],
    cost: Cost,
    mixes: bool = False,
    perturbs: bool = False,
) -> Penalty:
    """Return the penalty lambda E cost(|grad D|^2) at some points, which may need random tensors at each lazy step."""
    due = every(params.every)

    def draws(size: int, shape: tuple[int, ...]) -> tuple[Draw, ...]:
        mix = Draw(name="mix", prior="unit", shape=(size,), due=due)
        perturbation = Draw(name="perturbation", prior="unit", shape=(size, *shape), due=due)
        return (*[mix] * mixes, *[perturbation] * perturbs)

    def term(discriminator: nn.Module, real: Tensor, fake: Tensor, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        squared = squared_slope(discriminator, points(real, fake, batch))
        penalty = params.lambda_ * cost(squared).mean()
        return penalty, {"penalty": penalty.detach(), "interpolate_norm": root(squared.detach()).mean()}

    return Penalty(draws=draws, signals=("penalty", "interpolate_norm"), term=term)


def make_gradient(params: GradientPenaltyParams) -> Penalty:
    """Return lambda E[(|grad D| - 1)^2] between real and fake, one weight a sample (Gulrajani 2017, eq. 3)."""
    return _of_slopes(params, points=_between, cost=_two_sided, mixes=True)


def make_gradient_one_sided(params: OneSidedPenaltyParams) -> Penalty:
    """Return lambda E[max(0, |grad D| - 1)^2] between real and fake (Gulrajani 2017, section 4)."""
    return _of_slopes(params, points=_between, cost=_one_sided, mixes=True)


def make_r1(params: R1PenaltyParams) -> Penalty:
    """Return lambda / 2 E[|grad D|^2] on real samples (Mescheder 2018, eq. 9)."""
    return _of_slopes(params, points=_real, cost=_half)


def make_r2(params: R2PenaltyParams) -> Penalty:
    """Return lambda / 2 E[|grad D|^2] on generated samples (Mescheder 2018, eq. 10)."""
    return _of_slopes(params, points=_fake, cost=_half)


def make_r1_r2(params: R1R2PenaltyParams) -> Penalty:
    """Return lambda / 2 (E[|grad D|^2] on real + E[|grad D|^2] on generated samples) (Huang 2024, section 2)."""
    return _of_slopes(params, points=_both, cost=_whole)  # a mean over both parts is half the sum of their means


def make_dragan(params: DraganPenaltyParams) -> Penalty:
    """Return lambda E[(|grad D| - 1)^2] around real samples (Kodali 2017, section 2.3).

    The points are those of the authors' code, x + a s u / 2: s is the standard deviation of all numbers of the batch
    together, u from U(0, 1) for each number, and a from U(0, 1) for each sample.
    """
    return _of_slopes(params, points=_around, cost=_two_sided, mixes=True, perturbs=True)


# -- others ------------------------------------------------------------------------------------------------------------


def make_l2(params: L2PenaltyParams) -> Penalty:
    """Return lambda times the mean over D's layers of |W|^2 / 2 (Kurach 2019).

    W are matrices and kernels; biases and norms have one axis and are left out. The mean over layers is that of the
    authors' code, to which their ranges of lambda belong.
    """

    def term(discriminator: nn.Module, _real: Tensor, _fake: Tensor, _batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        halves = [weight.square().sum() / 2 for weight in discriminator.parameters() if weight.dim() > 1]
        penalty = params.lambda_ * torch.stack(halves).mean()
        return penalty, {"penalty": penalty.detach()}

    return Penalty(signals=("penalty",), term=term)


def make_none(params: Params) -> Penalty:  # noqa: ARG001 - it has no parameters
    """Return the penalty that is none."""
    return Penalty(term=lambda _d, real, _f, _b: (real.new_zeros(()), {}))


def clip_weights(weights: list[Tensor], clip: float) -> None:
    """Clip every weight to [-clip, clip] in place (Arjovsky 2017, algorithm 1, line 7)."""
    with torch.no_grad():
        torch._foreach_clamp_min_(weights, -clip)
        torch._foreach_clamp_max_(weights, clip)
