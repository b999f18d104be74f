"""ebgan: D is an auto-encoder that gives fakes a high energy, up to a margin."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from torch.nn.functional import relu

from trainers.objectives import Objective, separable
from trainers.params.objectives import EbganParams

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor

EPSILON = 1e-12  # in a code's squared norm, so that a code of zeros has no direction instead of a NaN


def as_real(energy: Float[Tensor, "batch 1"]) -> Float[Tensor, "batch 1"]:
    """Return E(x) (Zhao 2017, eq. 1)."""
    return energy


def g_loss(*, fake: Float[Tensor, "batch 1"]) -> Float[Tensor, ""]:
    """Return the mean of E(G(z)) (Zhao 2017, eq. 2)."""
    return fake.mean()


def pulling_away(code: Float[Tensor, "batch code"]) -> Float[Tensor, ""]:
    """Return 1 / (N (N - 1)) sum over i != j of the squared cosine of codes i and j, in [0, 1] (Zhao 2017, eq. 14).

    It is 0 for a batch of one sample.
    """
    unit, n = code * (code.square().sum(1, keepdim=True) + EPSILON).rsqrt(), len(code)
    squares = (unit @ unit.T).square()
    return (squares.sum() - squares.diagonal().sum()) / max(1, n * (n - 1))


def make(params: EbganParams) -> Objective:
    """Return the energy-based objective; D's loss is E(x) + max(0, margin - E(G(z))) (Zhao 2017, eq. 1).

    The energy is the mean of squared errors, not the paper's norm. At the equilibrium D's loss is the margin (theorem
    1). It has no floor to be watched: near 0 the fakes' energies are above the margin, and still teach G.
    """

    def as_fake(energy: Float[Tensor, "batch 1"]) -> Float[Tensor, "batch 1"]:
        return relu(params.margin - energy)

    def of_code(code: Float[Tensor, "batch code"]) -> Float[Tensor, ""]:
        return params.pull_away * pulling_away(code)

    return replace(
        separable(as_real=as_real, as_fake=as_fake, g_loss=g_loss, d_floor=None),
        says="energy",
        code=params.code,
        error=2,
        of_code=of_code if params.pull_away else None,
        pretrain=params.pretrain,
    )
