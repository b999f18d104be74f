"""pacgan: the networks of PacGAN's experiments in the plane (Lin et al. 2018)."""

from __future__ import annotations

import math
from functools import partial

from torch import nn

from trainers.networks import Networks
from trainers.networks.layers import UNRANDOM, Maxout, from_latent, hidden, shaped, shares_of
from trainers.params.networks import PacganParams

DEPTH_G, DEPTH_D = 4, 3  # hidden layers
MOMENTUM = 0.05  # of the batch statistics' averages


def _generator(params: PacganParams, latent: int, shape: tuple[int, ...], *, normed: bool = True) -> nn.Module:
    shares, size = shares_of(latent, DEPTH_G + 1, params), 0
    stages: list[list[nn.Module]] = []
    for share in shares[:-1]:
        layer = nn.Linear(size + share, params.width_g, bias=not normed)
        norms = [nn.BatchNorm1d(params.width_g, momentum=MOMENTUM)] if normed else []
        stages.append([layer, *norms, hidden("relu", params)])
        size = params.width_g
    stages.append([nn.Linear(size + shares[-1], math.prod(shape)), *shaped(shape)])
    return from_latent(stages, shares)


def _discriminator(params: PacganParams, shape: tuple[int, ...], outputs: int) -> nn.Module:
    layers: list[nn.Module] = [nn.Flatten()]
    size = math.prod(shape)
    for _ in range(DEPTH_D):
        layers += [nn.Linear(size, params.width_d * params.pieces), Maxout(params.pieces)]
        size = params.width_d
    return nn.Sequential(*layers, nn.Linear(size, outputs))


def _decoder(params: PacganParams, code: int, shape: tuple[int, ...]) -> nn.Module:
    return _generator(params.model_copy(update=UNRANDOM), code, shape, normed=False)  # as D has no norm


def make(params: PacganParams) -> Networks:
    """Return a generator with batch normalisation and ReLU, and a maxout discriminator without; images pass tanh."""
    return Networks(
        generator=partial(_generator, params),
        discriminator=partial(_discriminator, params),
        decoder=partial(_decoder, params),
        init=params.init,
    )
