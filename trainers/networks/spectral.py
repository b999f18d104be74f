"""Spectral normalisation: a layer's weight divided by an estimate of its largest singular value."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import nn
from torch.nn.functional import normalize
from torch.nn.utils import parametrize

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor

TRANSPOSED = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)


class Spectral(nn.Module):
    """W / sigma(W), with sigma from a power iteration (Miyato et al. 2018, algorithm 1).

    W is seen as a matrix [outputs, rest]; of a convolution that is not the operator itself, whose norm may be larger.
    The vector u is remembered and takes one iteration each time that the weight is asked for in training, none in
    evaluation. Gradients go through W alone, also through the W in sigma (eq. 12); u and v are constants.

    Args:
        weight: what is to be normalised; its shape counts.
        axis: of W that belongs to the outputs.
    """

    u: Tensor

    def __init__(self, weight: Tensor, axis: int) -> None:
        super().__init__()
        self.axis = axis
        outputs = weight.shape[axis]
        self.register_buffer("u", torch.full((outputs,), outputs**-0.5, dtype=weight.dtype, device=weight.device))

    def reset(self, rng: np.random.Generator) -> None:
        """Draw u evenly from the unit sphere."""
        drawn = rng.standard_normal(self.u.shape)
        with torch.no_grad():
            self.u.copy_(torch.from_numpy(drawn / np.linalg.norm(drawn)))

    def forward(self, weight: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
        """Return the normalised weight."""
        matrix = weight.transpose(0, self.axis).flatten(1)
        with torch.no_grad():
            # Copies, since a later pass changes u while this one's graph may still need it.
            u = self.u.clone()
            v = normalize(matrix.T @ u, dim=0)
            if self.training:
                u = normalize(matrix @ v, dim=0)
                self.u.copy_(u)
        return weight / torch.dot(u, matrix @ v)


def spectral(layer: nn.Module) -> nn.Module:
    """Normalise a linear or convolutional layer's `weight` in place, and return the layer.

    Its parameter is then `parametrizations.weight.original`; u is a buffer beside it, a vector of equal numbers until
    `Spectral.reset` draws another.

    Args:
        layer: that has a `weight` with at least two axes.

    Raises:
        ValueError: it has none.
    """
    weight = getattr(layer, "weight", None)
    if not isinstance(weight, torch.Tensor) or weight.dim() < 2:  # noqa: PLR2004 - a matrix
        raise ValueError(f"spectral normalisation needs a layer whose weight is a matrix or kernel, but got {layer}")
    made = Spectral(weight, 1 if isinstance(layer, TRANSPOSED) else 0)
    # The check that `unsafe` leaves out is a pass, and a pass in training would change u.
    return parametrize.register_parametrization(layer, "weight", made, unsafe=True)
