"""loss_sensitive: D is a loss that is lower on real samples by a margin, the distance to the generated ones."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch.nn.functional import relu

from trainers.objectives import Objective
from trainers.params.objectives import LossSensitiveParams

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor


def make(params: LossSensitiveParams) -> Objective:
    """Return D's loss gamma E L(x) + E max(0, tau Delta(x, G(z)) + L(x) - L(G(z))), and G's E L(G(z)) (Qi 2017).

    L is D's output, the higher the less real; Delta is the L1 distance of the pair, a constant for both players. The
    paper weighs the second term by 1 / gamma instead of the first by gamma, and has tau = 1.

    Without the first term D's loss is at least tau E Delta where both distributions are equal, and 0 where every margin
    is kept. That is no failure: L still slopes, and teaches G. With it there is no bound below.
    """

    def margin(real: Float[Tensor, "batch *shape"], fake: Float[Tensor, "batch *shape"]) -> Float[Tensor, "batch 1"]:
        apart = (real - fake).detach().abs().flatten(1)
        return params.tau * (apart.sum(1, keepdim=True) if params.distance == "sum" else apart.mean(1, keepdim=True))

    def d_loss(
        *, real: Float[Tensor, "batch 1"], fake: Float[Tensor, "batch 1"], margin: Float[Tensor, "batch 1"]
    ) -> Float[Tensor, ""]:
        return params.gamma * real.mean() + relu(margin + real - fake).mean()

    def g_loss(*, fake: Float[Tensor, "batch 1"]) -> Float[Tensor, ""]:
        return fake.mean()

    return Objective(d_loss=d_loss, g_loss=g_loss, d_floor=None, margin=margin)
