"""f_gan: D's loss is the negated variational bound of an f-divergence; `divergences` has their table."""

from __future__ import annotations

from typing import TYPE_CHECKING

from trainers.objectives import Objective, separable
from trainers.objectives.divergences import BOUNDS
from trainers.params.objectives import FGanParams

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor


def make(params: FGanParams) -> Objective:
    """Return the objective of a divergence: D's loss -E g_f(v) + E f*(g_f(v)) (eq. 6), G's strict or practical one.

    G's strict loss is -E f*(g_f(v)) of its fakes (eq. 6), the practical one -E g_f(v) (section 3.2).
    """
    bound = BOUNDS[params.divergence]

    def as_real(logits: Float[Tensor, "batch 1"]) -> Float[Tensor, "batch 1"]:
        return -bound.activation(logits)

    def g_loss(*, fake: Float[Tensor, "batch 1"]) -> Float[Tensor, ""]:
        found = bound.conjugate(fake) if params.generator == "strict" else bound.activation(fake)
        return -found.mean()

    floor = None if bound.most is None else -bound.most
    return separable(as_real=as_real, as_fake=bound.conjugate, g_loss=g_loss, d_floor=floor, boundary=bound.boundary)
