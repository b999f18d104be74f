"""Gradient penalties and weight clipping."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import nn

from trainers.draws import Draw
from trainers.params.penalties import GradientPenaltyParams
from trainers.registry import Params

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor

    Batch = Mapping[str, Tensor]
    Term = Callable[[nn.Module, Tensor, Tensor, Batch], tuple[Tensor, dict[str, Tensor]]]

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


def input_gradient_norm(discriminator: nn.Module, points: Float[Tensor, "batch *shape"]) -> Float[Tensor, "batch"]:
    """Return |grad_x D(x)|_2 of each sample, over all of its axes, differentiable once more."""
    points = points.detach().requires_grad_(True)
    (gradient,) = torch.autograd.grad(discriminator(points).sum(), points, create_graph=True)
    return (gradient.flatten(1).square().sum(1) + EPSILON).sqrt()


def make_gradient(params: GradientPenaltyParams) -> Penalty:
    """Return lambda E[(|grad D| - 1)^2] between real and fake, one weight a sample (Gulrajani 2017, eq. 3)."""

    def term(discriminator: nn.Module, real: Tensor, fake: Tensor, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        mix = batch["mix"].view(-1, *[1] * (real.dim() - 1))
        norm = input_gradient_norm(discriminator, mix * real + (1 - mix) * fake)
        penalty = params.lambda_ * (norm - 1).square().mean()
        return penalty, {"penalty": penalty.detach(), "interpolate_norm": norm.detach().mean()}

    return Penalty(
        draws=lambda size, _: (Draw(name="mix", prior="unit", shape=(size,)),),
        signals=("penalty", "interpolate_norm"),
        term=term,
    )


def make_none(params: Params) -> Penalty:  # noqa: ARG001 - it has no parameters
    """Return the penalty that is none."""
    return Penalty(term=lambda _d, real, _f, _b: (real.new_zeros(()), {}))


def clip_weights(weights: list[Tensor], clip: float) -> None:
    """Clip every weight to [-clip, clip] in place (Arjovsky 2017, algorithm 1, line 7)."""
    with torch.no_grad():
        torch._foreach_clamp_min_(weights, -clip)
        torch._foreach_clamp_max_(weights, clip)


def clip_share(weights: Sequence[Tensor], clip: float) -> Float[Tensor, ""]:
    """Return the share of weights within 0.1 % of the clip, in [0, 1] (Gulrajani 2017, fig. 1b: they pile up there)."""
    at_clip = torch.stack([(weight.detach().abs() >= 0.999 * clip).sum() for weight in weights]).sum()
    return at_clip / sum(weight.numel() for weight in weights)
