"""What D and G minimise, from logits: one short file a family."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor


class DiscriminatorLoss(Protocol):
    """D's loss from its logits on real and generated samples."""

    def __call__(self, *, real: Float[Tensor, "batch 1"], fake: Float[Tensor, "batch 1"]) -> Float[Tensor, ""]:
        """Return the mean loss."""


@dataclass(frozen=True, kw_only=True)
class Objective:
    """A pair of losses.

    Attributes:
        d_loss: D's loss of logits on real and on generated samples.
        g_loss: G's loss of logits on generated samples.
        d_floor: the least value that D's loss can have, reached when D wins; None where there is none.
    """

    d_loss: DiscriminatorLoss
    g_loss: Callable[[Float[Tensor, "batch 1"]], Float[Tensor, ""]]
    d_floor: float | None
