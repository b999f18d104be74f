"""began: D is an auto-encoder, and a controlled weight keeps the two players in balance."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import torch
from torch import nn

from trainers.objectives import Objective, separable
from trainers.params.objectives import BeganParams

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor


class Balance(nn.Module):
    """The weight k of fakes in D's loss, in [0, 1] and 0 at first (Berthelot 2017, section 3.4)."""

    k: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("k", torch.zeros(()))


def make(params: BeganParams) -> Objective:
    """Return D's loss L(x) - k L(G(z)), G's L(G(z)), and k + lambda_k (gamma L(x) - L(G(z))) (Berthelot 2017).

    All three stand in section 3.4. L is the mean absolute error of D's auto-encoder, and the L(G(z)) that moves k is
    that of the fakes in D's update. D's loss has no bound below: it is negative where k L(G(z)) exceeds L(x).
    """
    balance = Balance()

    def as_real(energy: Float[Tensor, "batch 1"]) -> Float[Tensor, "batch 1"]:
        return energy

    def as_fake(energy: Float[Tensor, "batch 1"]) -> Float[Tensor, "batch 1"]:
        return -balance.k * energy

    def g_loss(*, fake: Float[Tensor, "batch 1"]) -> Float[Tensor, ""]:
        return fake.mean()

    def after(*, real: Float[Tensor, "batch 1"], fake: Float[Tensor, "batch 1"]) -> None:
        with torch.no_grad():
            balance.k += params.lambda_k * (params.gamma * real.mean() - fake.mean())
            balance.k.clamp_(0, 1)

    losses = separable(as_real=as_real, as_fake=as_fake, g_loss=g_loss, d_floor=None)
    return replace(losses, says="energy", code=params.code, error=1, state=balance, after=after)
