"""least_squares: D regresses labels a (fake) and b (real), and G wants it to say c."""

from __future__ import annotations

from typing import TYPE_CHECKING

from trainers.objectives import Objective, separable
from trainers.params.objectives import LeastSquaresParams

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor


def make(params: LeastSquaresParams) -> Objective:
    """Return 1/2 E (D(x) - b)^2 + 1/2 E (D(G(z)) - a)^2 and 1/2 E (D(G(z)) - c)^2 (Mao 2017, eq. 2, its factors 1/2).

    D's loss is (b - a)^2 / 4 where D cannot tell, and 0 where it has won. With b - c = 1 and b - a = 2, twice the sum
    of G's loss on fakes and on real samples is Pearson's chi squared of p + q and 2 q (section 3.2).
    """

    def as_real(logits: Float[Tensor, "batch 1"]) -> Float[Tensor, "batch 1"]:
        return (logits - params.b).square() / 2

    def as_fake(logits: Float[Tensor, "batch 1"]) -> Float[Tensor, "batch 1"]:
        return (logits - params.a).square() / 2

    def g_loss(*, fake: Float[Tensor, "batch 1"]) -> Float[Tensor, ""]:
        return (fake - params.c).square().mean() / 2

    middle = (params.a + params.b) / 2 if params.b > params.a else None
    return separable(as_real=as_real, as_fake=as_fake, g_loss=g_loss, d_floor=0.0, boundary=middle)
