"""minimax: G minimises log(1 - D(G(z))), the game's value itself, which saturates where D wins."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch.nn.functional import softplus

from trainers.objectives import Objective, separable
from trainers.objectives.non_saturating import as_fake, as_real
from trainers.registry import Params

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor


def g_loss(*, fake: Float[Tensor, "batch 1"]) -> Float[Tensor, ""]:
    """Return E log(1 - D(G(z))) (Goodfellow 2014, eq. 1); D's loss is that of non_saturating.

    Against D* = p / (p + q) D's loss is 2 log 2 - 2 JSD(p, q) (theorem 1). At a logit of -30 G's gradient is -9e-14.
    """
    return -softplus(fake).mean()


def make(params: Params) -> Objective:  # noqa: ARG001 - it has no parameters
    """Return the minimax objective."""
    return separable(as_real=as_real, as_fake=as_fake, g_loss=g_loss, d_floor=0.0, boundary=0.0)
