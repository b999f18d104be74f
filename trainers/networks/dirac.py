"""dirac: two numbers, on which a GAN's dynamics can be worked out by hand."""

from __future__ import annotations

import math
from functools import partial

import torch
from torch import Tensor, nn

from trainers.errors import ConfigError
from trainers.networks import Networks
from trainers.params.networks import DiracParams


class Point(nn.Module):
    """A generator whose every sample is theta."""

    def __init__(self, theta: float) -> None:
        super().__init__()
        self.theta = nn.Parameter(torch.tensor([theta]))

    def forward(self, latent: Tensor) -> Tensor:
        """Return theta for each latent, [batch, 1]."""
        return self.theta.expand(len(latent), 1)


class Slope(nn.Module):
    """A discriminator psi x."""

    def __init__(self, psi: float) -> None:
        super().__init__()
        self.psi = nn.Parameter(torch.tensor([psi]))

    def forward(self, samples: Tensor) -> Tensor:
        """Return psi x, [batch, 1]."""
        return self.psi * samples


def _generator(params: DiracParams, _latent: int, shape: tuple[int, ...]) -> nn.Module:
    if math.prod(shape) != 1:
        raise ConfigError(f"network dirac needs samples of one number, such as data=dirac has, but got {list(shape)}")
    return Point(params.theta)


def make(params: DiracParams) -> Networks:
    """Return builders of Dirac-GAN (Mescheder et al. 2018, definition 2.1), which begin at (theta, psi)."""
    return Networks(
        generator=partial(_generator, params),
        discriminator=lambda _shape, _outputs: Slope(params.psi),
        init="he",  # nothing is drawn
    )
