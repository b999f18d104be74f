"""mlp: fully connected generator and discriminator."""

from __future__ import annotations

import math
from functools import partial

from torch import nn

from trainers.networks import Networks
from trainers.networks.layers import (
    activation,
    as_decoder,
    flat_norm,
    from_latent,
    hidden,
    shaped,
    shares_of,
    spectrally,
)
from trainers.params.networks import MlpParams


def _generator(params: MlpParams, latent: int, shape: tuple[int, ...]) -> nn.Module:
    shares, size = shares_of(latent, params.depth + 1, params), 0
    stages: list[list[nn.Module]] = []
    for share in shares[:-1]:
        layer = nn.Linear(size + share, params.width, bias=params.norm_g != "batch")
        stages.append([layer, *flat_norm(params.norm_g, params.width), hidden(params.activation, params)])
        size = params.width
    stages.append([nn.Linear(size + shares[-1], math.prod(shape)), *shaped(shape)])
    return from_latent(stages, shares)


def _discriminator(params: MlpParams, shape: tuple[int, ...], outputs: int) -> nn.Module:
    layers: list[nn.Module] = [nn.Flatten()]
    size, (width, depth) = math.prod(shape), _size_of_d(params)
    for place in range(depth):
        norm = params.norm_d if place else "none"
        layer = nn.Linear(size, width, bias=norm != "batch")  # a batch norm takes a bias away again
        layers += [layer, *flat_norm(norm, width), activation(params.activation)]
        size = width
    return spectrally(nn.Sequential(*layers, nn.Linear(size, outputs)), params.norm_d)


def _decoder(params: MlpParams, code: int, shape: tuple[int, ...]) -> nn.Module:
    width, depth = _size_of_d(params)
    own = as_decoder(params).model_copy(update={"width": width, "depth": depth})
    return spectrally(_generator(own, code, shape), params.norm_d)


def _size_of_d(params: MlpParams) -> tuple[int, int]:
    return params.width_d or params.width, params.depth_d or params.depth


def make(params: MlpParams) -> Networks:
    """Return builders of `depth` hidden layers of `width` units; images pass through tanh at the end."""
    return Networks(
        generator=partial(_generator, params),
        discriminator=partial(_discriminator, params),
        decoder=partial(_decoder, params),
        init=params.init,
    )
