"""relativistic: D says how much more real a real sample is than a generated one, pair by pair."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch.nn.functional import softplus

from trainers.objectives import Objective
from trainers.registry import Params

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor


def d_loss(*, real: Float[Tensor, "batch 1"], fake: Float[Tensor, "batch 1"]) -> Float[Tensor, ""]:
    """Return -E log sigmoid(C(x) - C(G(z))) (RpGAN; Jolicoeur-Martineau 2018, section 4.1).

    It is log 2 where D cannot tell, log 2 - JSD(p x q, q x p) where C is optimal, which is C = log p / q, and 0 where
    D has won.
    """
    return softplus(fake - real).mean()


def g_loss(*, real: Float[Tensor, "batch 1"], fake: Float[Tensor, "batch 1"]) -> Float[Tensor, ""]:
    """Return -E log sigmoid(C(G(z)) - C(x)) (Jolicoeur-Martineau 2018, section 4.1)."""
    return softplus(real - fake).mean()


def make(params: Params) -> Objective:  # noqa: ARG001 - it has no parameters
    """Return the paired relativistic objective."""
    return Objective(d_loss=d_loss, g_loss=g_loss, d_floor=0.0, paired=True)
