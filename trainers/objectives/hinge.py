"""hinge: D is a soft-margin classifier, and G moves its fakes along D."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch.nn.functional import relu

from trainers.objectives import Objective, separable
from trainers.registry import Params

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor


def as_real(logits: Float[Tensor, "batch 1"]) -> Float[Tensor, "batch 1"]:
    """Return max(0, 1 - f(x)) (Lim and Ye 2017; Miyato 2018, eq. 16).

    D's loss is 2 where D cannot tell, 2 - 2 TV(p, q) where it is optimal, with TV half the L1 distance, and 0 where it
    has won.
    """
    return relu(1 - logits)


def as_fake(logits: Float[Tensor, "batch 1"]) -> Float[Tensor, "batch 1"]:
    """Return max(0, 1 + f(G(z))) (Lim and Ye 2017; Miyato 2018, eq. 16)."""
    return relu(1 + logits)


def g_loss(*, fake: Float[Tensor, "batch 1"]) -> Float[Tensor, ""]:
    """Return -E f(G(z)) (Lim and Ye 2017; Miyato 2018, eq. 17)."""
    return -fake.mean()


def make(params: Params) -> Objective:  # noqa: ARG001 - it has no parameters
    """Return the hinge objective."""
    return separable(as_real=as_real, as_fake=as_fake, g_loss=g_loss, d_floor=0.0, boundary=0.0)
