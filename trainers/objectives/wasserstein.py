"""wasserstein: D estimates the earth mover's distance up to its Lipschitz constant."""

from __future__ import annotations

from typing import TYPE_CHECKING

from trainers.objectives import Objective
from trainers.registry import Params

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor


def d_loss(*, real: Float[Tensor, "batch 1"], fake: Float[Tensor, "batch 1"]) -> Float[Tensor, ""]:
    """Return E f(G(z)) - E f(x), the negated dual (Arjovsky 2017, eq. 2); f is not bounded without a constraint."""
    return fake.mean() - real.mean()


def g_loss(fake: Float[Tensor, "batch 1"]) -> Float[Tensor, ""]:
    """Return -E f(G(z)) (Arjovsky 2017, algorithm 1, line 10)."""
    return -fake.mean()


def make(params: Params) -> Objective:  # noqa: ARG001 - it has no parameters
    """Return the Wasserstein objective."""
    return Objective(d_loss=d_loss, g_loss=g_loss, d_floor=None)
