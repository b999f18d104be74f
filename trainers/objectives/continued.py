"""exp, continued as a straight line where float32 would soon overflow."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch.nn.functional import relu

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor

# exp(88) still is a float32; but gradient norms and Adam square what comes out, and exp(40)^2 = 5.5e34 is one too.
LIMIT = 40.0


def exp(x: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """Return e^x up to x = 40, and the tangent there, e^40 (1 + x - 40), above.

    Value and gradient never fall, and are finite in float32 up to x = 1e20.
    """
    return torch.where(x > LIMIT, LIMIT, x).exp() * (1 + relu(x - LIMIT))  # clamp's gradient at the limit is 0
