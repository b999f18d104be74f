"""resnet: residual blocks with ReLU (Gulrajani et al. 2017, appendix F; Miyato et al. 2018, appendix B.4)."""

from __future__ import annotations

from functools import partial

from torch import nn

from trainers.networks import Networks
from trainers.networks.layers import (
    UNNORMED,
    GlobalSum,
    Residual,
    as_decoder,
    from_latent,
    halvings,
    hidden,
    image_norm,
    shares_of,
    spectrally,
)
from trainers.params.networks import ResnetParams


def _conv(inputs: int, outputs: int, *, bias: bool) -> nn.Module:
    return nn.Conv2d(inputs, outputs, 3, 1, 1, bias=bias)


def _doubling(params: ResnetParams, inputs: int, outputs: int) -> nn.Module:
    norm, bias = params.norm_g, params.norm_g in UNNORMED
    path = nn.Sequential(
        *[*image_norm(norm, inputs), nn.ReLU(), nn.Upsample(scale_factor=2), _conv(inputs, outputs, bias=bias)],
        *[*image_norm(norm, outputs), hidden("relu", params), _conv(outputs, outputs, bias=bias)],
    )
    # A 1x1 convolution and nearest-neighbour upsampling can change places; this way round is cheaper.
    return Residual(path, nn.Sequential(nn.Conv2d(inputs, outputs, 1, bias=False), nn.Upsample(scale_factor=2)))


def _generator(params: ResnetParams, latent: int, shape: tuple[int, ...]) -> nn.Module:
    size, count = halvings("resnet", shape)
    shares = shares_of(latent, count + 2, params)
    channels = params.features * 2 ** (count - 1)
    first = nn.Linear(shares[0], channels * size * size)
    stages: list[list[nn.Module]] = [[first, nn.Unflatten(1, (channels, size, size))]]
    for place, share in enumerate(shares[1:-1]):
        outputs = params.features * 2 ** (count - 1 - place)
        stages.append([_doubling(params, channels + share, outputs)])
        channels = outputs
    stages[-1] += [*image_norm(params.norm_g, channels), nn.ReLU()]
    stages.append([_conv(channels + shares[-1], shape[0], bias=True), nn.Tanh()])
    return from_latent(stages, shares)


def _first(inputs: int, outputs: int) -> nn.Module:
    path = [_conv(inputs, outputs, bias=True), nn.ReLU(), _conv(outputs, outputs, bias=True), nn.AvgPool2d(2)]
    return Residual(nn.Sequential(*path), nn.Sequential(nn.AvgPool2d(2), nn.Conv2d(inputs, outputs, 1, bias=False)))


def _block(params: ResnetParams, inputs: int, outputs: int) -> nn.Module:
    """Return a block that halves an image's sides where it widens it, and else keeps them."""
    norm, bias = params.norm_d, params.norm_d in UNNORMED
    pool = [nn.AvgPool2d(2)] if outputs != inputs else []
    path = nn.Sequential(
        *[*image_norm(norm, inputs), nn.ReLU(), _conv(inputs, outputs, bias=bias)],
        *[*image_norm(norm, outputs), nn.ReLU(), _conv(outputs, outputs, bias=True), *pool],
    )
    return Residual(path, nn.Sequential(*pool, nn.Conv2d(inputs, outputs, 1, bias=False)) if pool else nn.Identity())


def _discriminator(params: ResnetParams, shape: tuple[int, ...], outputs: int) -> nn.Module:
    _, count = halvings("resnet", shape)
    channels = params.features
    layers = [_first(shape[0], channels)]
    for _ in range(count - 1):
        layers.append(_block(params, channels, channels * 2))
        channels *= 2
    layers.append(_block(params, channels, channels))
    return spectrally(nn.Sequential(*layers, nn.ReLU(), GlobalSum(), nn.Linear(channels, outputs)), params.norm_d)


def _decoder(params: ResnetParams, code: int, shape: tuple[int, ...]) -> nn.Module:
    return spectrally(_generator(as_decoder(params), code, shape), params.norm_d)


def make(params: ResnetParams) -> Networks:
    """Return builders whose channels double with each halving of the image, as in Miyato's for 128x128 pixels."""
    return Networks(
        generator=partial(_generator, params),
        discriminator=partial(_discriminator, params),
        decoder=partial(_decoder, params),
        init=params.init,
    )
