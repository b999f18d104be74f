"""maximum_likelihood: against the optimal D, G's expected gradient is that of the data's likelihood."""

from __future__ import annotations

from typing import TYPE_CHECKING

from trainers.objectives import Objective, separable
from trainers.objectives.continued import exp
from trainers.objectives.non_saturating import as_fake, as_real
from trainers.registry import Params

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor


def g_loss(*, fake: Float[Tensor, "batch 1"]) -> Float[Tensor, ""]:
    """Return -1/2 E exp(logit of D(G(z))) (Goodfellow 2016, NIPS tutorial, section 3.2.4, with its factor 1/2).

    Against D* = p / (p + q) its gradient is half that of KL(p || q). Above a logit of 40 it is a line, see `continued`.
    """
    return -exp(fake).mean() / 2


def make(params: Params) -> Objective:  # noqa: ARG001 - it has no parameters
    """Return the maximum-likelihood objective; D's loss is that of non_saturating."""
    return separable(as_real=as_real, as_fake=as_fake, g_loss=g_loss, d_floor=0.0, boundary=0.0)
