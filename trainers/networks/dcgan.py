"""dcgan: strided convolutions with batch normalisation (Radford et al. 2015)."""

from __future__ import annotations

from torch import nn

from trainers.errors import ConfigError
from trainers.networks import Networks
from trainers.networks.initial import SLOPE
from trainers.params.networks import DcganParams

SMALLEST = 4


def _halvings(shape: tuple[int, ...]) -> tuple[int, int]:
    """Return the size at which a square image cannot be halved further, and how often it was halved."""
    size, halvings = shape[-1], 0
    while size % 2 == 0 and size > SMALLEST:
        size, halvings = size // 2, halvings + 1
    if len(shape) != 3 or shape[1] != shape[2] or halvings == 0:  # noqa: PLR2004 - channels, height, width
        raise ConfigError(f"network dcgan needs square images of an even size above 4, but the data's shape is {shape}")
    return size, halvings


def _norm(kind: str, channels: int) -> list[nn.Module]:
    if kind == "none":
        return []
    return [nn.BatchNorm2d(channels) if kind == "batch" else nn.GroupNorm(1, channels)]


def make(params: DcganParams) -> Networks:
    """Return builders without pooling or hidden linear layers; no norm in G's last and in D's first layer."""

    def generator(latent: int, shape: tuple[int, ...]) -> nn.Module:
        size, halvings = _halvings(shape)
        channels = params.features * 2 ** (halvings - 1)
        layers: list[nn.Module] = [nn.Unflatten(1, (latent, 1, 1))]
        layers += [nn.ConvTranspose2d(latent, channels, size, bias=False), nn.BatchNorm2d(channels)]
        for _ in range(halvings - 1):
            layers += [nn.LeakyReLU(SLOPE), nn.ConvTranspose2d(channels, channels // 2, 4, 2, 1, bias=False)]
            channels //= 2
            layers += [nn.BatchNorm2d(channels)]
        layers += [nn.LeakyReLU(SLOPE), nn.ConvTranspose2d(channels, shape[0], 4, 2, 1), nn.Tanh()]
        return nn.Sequential(*layers)

    def discriminator(shape: tuple[int, ...], outputs: int) -> nn.Module:
        size, halvings = _halvings(shape)
        layers: list[nn.Module] = [nn.Conv2d(shape[0], params.features, 4, 2, 1), nn.LeakyReLU(SLOPE)]
        channels = params.features
        for _ in range(halvings - 1):
            layers += [nn.Conv2d(channels, channels * 2, 4, 2, 1), *_norm(params.norm_d, channels * 2)]
            layers += [nn.LeakyReLU(SLOPE)]
            channels *= 2
        return nn.Sequential(*layers, nn.Conv2d(channels, outputs, size), nn.Flatten())

    return Networks(generator=generator, discriminator=discriminator, init="normal")
