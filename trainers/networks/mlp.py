"""mlp: fully connected generator and discriminator."""

from __future__ import annotations

import math

from torch import nn

from trainers.networks import Networks
from trainers.networks.initial import SLOPE
from trainers.params.networks import MlpParams

IMAGE_DIMS = 3


def _hidden(size: int, params: MlpParams) -> list[nn.Module]:
    layers: list[nn.Module] = []
    for _ in range(params.depth):
        layers += [nn.Linear(size, params.width), nn.LeakyReLU(SLOPE)]
        size = params.width
    return layers


def make(params: MlpParams) -> Networks:
    """Return builders of `depth` hidden layers of `width` units with LeakyReLU; images pass through tanh at the end."""

    def generator(latent: int, shape: tuple[int, ...]) -> nn.Module:
        end = [nn.Linear(params.width, math.prod(shape)), nn.Unflatten(1, shape)]
        bounded = [nn.Tanh()] if len(shape) == IMAGE_DIMS else []
        return nn.Sequential(*_hidden(latent, params), *end, *bounded)

    def discriminator(shape: tuple[int, ...], outputs: int) -> nn.Module:
        return nn.Sequential(nn.Flatten(), *_hidden(math.prod(shape), params), nn.Linear(params.width, outputs))

    return Networks(generator=generator, discriminator=discriminator, init="he")
