"""non_saturating: G maximises log D(G(z)) instead of minimising log(1 - D(G(z)))."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch.nn.functional import softplus

from trainers.objectives import Objective, separable
from trainers.registry import Params

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor


def as_real(logits: Float[Tensor, "batch 1"]) -> Float[Tensor, "batch 1"]:
    """Return -log D(x) with D = sigmoid(logit) (Goodfellow 2014, eq. 1).

    D's loss is 2 log 2 where D cannot tell, and 0 where it has won.
    """
    return softplus(-logits)


def as_fake(logits: Float[Tensor, "batch 1"]) -> Float[Tensor, "batch 1"]:
    """Return -log(1 - D(G(z))) (Goodfellow 2014, eq. 1)."""
    return softplus(logits)


def g_loss(*, fake: Float[Tensor, "batch 1"]) -> Float[Tensor, ""]:
    """Return -E log D(G(z)) (Goodfellow 2014, section 3); its gradient at a logit of -30 is -1, not 0."""
    return softplus(-fake).mean()


def make(params: Params) -> Objective:  # noqa: ARG001 - it has no parameters
    """Return the non-saturating objective."""
    return separable(as_real=as_real, as_fake=as_fake, g_loss=g_loss, d_floor=0.0, boundary=0.0)
