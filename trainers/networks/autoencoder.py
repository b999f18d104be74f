"""A discriminator that is an auto-encoder: its error on a sample is the sample's energy."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import nn

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor


class AutoEncoder(nn.Module):
    """D(x) = the mean over x's numbers of |x - decode(encode(x))|^p (Zhao et al. 2017; Berthelot et al. 2017).

    Args:
        encoder: from [batch, *shape] to a code [batch, code].
        decoder: from a code to [batch, *shape].
        exponent: p, 1 or 2.
    """

    def __init__(self, encoder: nn.Module, decoder: nn.Module, exponent: int) -> None:
        super().__init__()
        self.encoder, self.decoder, self.exponent = encoder, decoder, exponent

    def forward(self, samples: Float[Tensor, "batch *shape"]) -> Float[Tensor, "batch 1"]:
        """Return each sample's energy, at least 0."""
        return self.judge(samples)[0]

    def judge(self, samples: Float[Tensor, "batch *shape"]) -> tuple[Tensor, Tensor]:
        """Return each sample's energy, [batch, 1], and its code, [batch, code]."""
        code = self.encoder(samples)
        error = (samples - self.decoder(code)).abs().pow(self.exponent)
        return error.flatten(1).mean(1, keepdim=True), code
