"""wasserstein: D estimates the earth mover's distance up to its Lipschitz constant."""

from __future__ import annotations

from typing import TYPE_CHECKING

from trainers.objectives import Objective, separable
from trainers.registry import Params

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor


def as_real(logits: Float[Tensor, "batch 1"]) -> Float[Tensor, "batch 1"]:
    """Return -f(x): D's loss E f(G(z)) - E f(x) is the negated dual (Arjovsky 2017, eq. 2), which has no bound."""
    return -logits


def as_fake(logits: Float[Tensor, "batch 1"]) -> Float[Tensor, "batch 1"]:
    """Return f(G(z)) (Arjovsky 2017, eq. 2)."""
    return logits


def g_loss(*, fake: Float[Tensor, "batch 1"]) -> Float[Tensor, ""]:
    """Return -E f(G(z)) (Arjovsky 2017, algorithm 1, line 10)."""
    return -fake.mean()


def make(params: Params) -> Objective:  # noqa: ARG001 - it has no parameters
    """Return the Wasserstein objective."""
    return separable(as_real=as_real, as_fake=as_fake, g_loss=g_loss, d_floor=None)
