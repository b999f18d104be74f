"""dcgan: strided convolutions with batch normalisation (Radford et al. 2015)."""

from __future__ import annotations

from functools import partial

from torch import nn

from trainers.networks import Networks
from trainers.networks.layers import (
    UNNORMED,
    activation,
    as_decoder,
    from_latent,
    halvings,
    hidden,
    image_norm,
    shares_of,
    spectrally,
)
from trainers.params.networks import DcganParams


def _doubling(params: DcganParams, inputs: int, outputs: int, *, bias: bool) -> list[nn.Module]:
    """Return a layer that doubles an image's sides, strided or by sub-pixels (Shi et al. 2016)."""
    if params.upsample == "transposed":
        return [nn.ConvTranspose2d(inputs, outputs, 4, 2, 1, bias=bias)]
    return [nn.Conv2d(inputs, 4 * outputs, 3, 1, 1, bias=bias), nn.PixelShuffle(2)]


def _generator(params: DcganParams, latent: int, shape: tuple[int, ...]) -> nn.Module:
    size, count = halvings("dcgan", shape)
    shares = shares_of(latent, count + 1, params)
    channels, bias = params.features * 2 ** (count - 1), params.norm_g in UNNORMED
    layers: list[nn.Module] = [nn.Unflatten(1, (shares[0], 1, 1))]
    layers += [nn.ConvTranspose2d(shares[0], channels, size, bias=bias)]
    stages: list[list[nn.Module]] = []
    for share in shares[1:-1]:
        stages.append([*layers, *image_norm(params.norm_g, channels), hidden(params.activation, params)])
        layers = _doubling(params, channels + share, channels // 2, bias=bias)
        channels //= 2
    stages.append([*layers, *image_norm(params.norm_g, channels), hidden(params.activation, params)])
    stages.append([*_doubling(params, channels + shares[-1], shape[0], bias=True), nn.Tanh()])
    return from_latent(stages, shares)


def _halving(params: DcganParams, inputs: int, outputs: int, norm: str) -> list[nn.Module]:
    bias = norm != "instance"  # which would take it away again
    strided = params.downsample == "stride"
    layer = (
        nn.Conv2d(inputs, outputs, 4, 2, 1, bias=bias) if strided else nn.Conv2d(inputs, outputs, 3, 1, 1, bias=bias)
    )
    pool = [] if strided else [nn.AvgPool2d(2)]
    return [layer, *image_norm(norm, outputs), activation(params.activation), *pool]


def _discriminator(params: DcganParams, shape: tuple[int, ...], outputs: int) -> nn.Module:
    size, count = halvings("dcgan", shape)
    layers = _halving(params, shape[0], params.features, "none")
    channels = params.features
    for _ in range(count - 1):
        layers += _halving(params, channels, channels * 2, params.norm_d)
        channels *= 2
    return spectrally(nn.Sequential(*layers, nn.Conv2d(channels, outputs, size), nn.Flatten()), params.norm_d)


def _decoder(params: DcganParams, code: int, shape: tuple[int, ...]) -> nn.Module:
    return spectrally(_generator(as_decoder(params), code, shape), params.norm_d)


def make(params: DcganParams) -> Networks:
    """Return builders without hidden linear layers; no norm in G's last and in D's first layer."""
    return Networks(
        generator=partial(_generator, params),
        discriminator=partial(_discriminator, params),
        decoder=partial(_decoder, params),
        init=params.init,
    )
