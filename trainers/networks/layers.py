"""Blocks that the shipped networks share: norms, activations, and latents that enter at several layers."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain
from typing import TYPE_CHECKING, TypeVar

import torch
from torch import nn

from trainers.errors import ConfigError
from trainers.networks.initial import SLOPE, WEIGHTED
from trainers.networks.spectral import spectral
from trainers.networks.stochastic import Dropout, Noise
from trainers.params.networks import DcganParams, MlpParams, NetworkParams, ResnetParams

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor

NormedParams = TypeVar("NormedParams", MlpParams, DcganParams, ResnetParams)

UNRANDOM = {"split_latent": False, "noise": "none", "dropout": 0.0}  # parameters of a network that is a function
UNNORMED = ("none", "spectral")  # no norm of activations: a layer has a bias of its own
IMAGE_DIMS = 3  # channels, height, width
SMALLEST = 4  # side from which a generator starts, and to which a discriminator comes


class SoftplusElu(nn.Module):
    """softplus(2x + 2) / 2 - 1, an ELU with a smooth second derivative (Gulrajani et al. 2017, table 1)."""

    def forward(self, x: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
        """Return the activation of each number."""
        return nn.functional.softplus(2 * x + 2) / 2 - 1


class Maxout(nn.Module):
    """The largest of each `pieces` numbers in a row (Goodfellow et al. 2013)."""

    def __init__(self, pieces: int) -> None:
        super().__init__()
        self.pieces = pieces

    def forward(self, x: Float[Tensor, "batch many"]) -> Float[Tensor, "batch few"]:
        """Return one number for each `pieces` of x."""
        return x.view(-1, x.shape[1] // self.pieces, self.pieces).amax(2)


class GlobalSum(nn.Module):
    """The sum of each channel over an image."""

    def forward(self, x: Float[Tensor, "batch channels height width"]) -> Float[Tensor, "batch channels"]:
        """Return a number for each channel."""
        return x.sum((2, 3))


class Residual(nn.Module):
    """path(x) + shortcut(x)."""

    def __init__(self, path: nn.Module, shortcut: nn.Module) -> None:
        super().__init__()
        self.path, self.shortcut = path, shortcut

    def forward(self, x: Float[Tensor, "batch *shape"]) -> Float[Tensor, "batch *other"]:
        """Return the sum of both ways through the block."""
        out: Tensor = self.path(x) + self.shortcut(x)
        return out


class SplitLatent(nn.Module):
    """Stages of a generator, each of which is given its own share of the latent beside the last one's output.

    Args:
        stages: the first one takes latents, each other the one before it with as many more numbers, or channels.
        shares: latent numbers of each stage.
    """

    def __init__(self, stages: Sequence[nn.Module], shares: Sequence[int]) -> None:
        super().__init__()
        self.stages, self.shares = nn.ModuleList(stages), list(shares)

    def forward(self, latent: Float[Tensor, "batch latent"]) -> Float[Tensor, "batch *shape"]:
        """Return samples."""
        first, *others = torch.split(latent, self.shares, dim=1)
        x: Tensor = self.stages[0](first)
        for stage, share in zip(list(self.stages)[1:], others, strict=True):
            places = x.shape[2:]
            spread = share[(..., *[None] * len(places))].expand(-1, -1, *places)
            x = stage(torch.cat((x, spread), dim=1))
        return x


def shares_of(latent: int, stages: int, params: NetworkParams) -> list[int]:
    """Return how many latent numbers enter each stage of a generator, as evenly as can be where they are split.

    Raises:
        ConfigError: a stage would have none.
    """
    if not params.split_latent:
        return [latent, *[0] * (stages - 1)]
    if latent < stages:
        raise ConfigError(
            f"latent.size must be at least {stages} with network.split_latent, one number for each of the generator's "
            f"layers, but got latent.size={latent}"
        )
    least, rest = divmod(latent, stages)
    return [least + (place < rest) for place in range(stages)]


def from_latent(stages: Sequence[Sequence[nn.Module]], shares: Sequence[int]) -> nn.Module:
    """Return a generator of stages that need the given shares of the latent."""
    if any(shares[1:]):
        return SplitLatent([nn.Sequential(*stage) for stage in stages], shares)
    return nn.Sequential(*chain.from_iterable(stages))


def activation(kind: str) -> nn.Module:
    """Return an activation by its name."""
    kinds = {"relu": nn.ReLU, "tanh": nn.Tanh, "softplus_elu": SoftplusElu, "elu": nn.ELU}
    return nn.LeakyReLU(SLOPE) if kind == "leaky_relu" else kinds[kind]()


def hidden(kind: str, params: NetworkParams) -> nn.Module:
    """Return the activation of a generator's hidden layer, with the noise and then the dropout that are asked for."""
    made: list[nn.Module] = [activation(kind)]
    if params.noise != "none":
        made.append(Noise(params.noise, params.noise_std, sampling=True))
    if params.dropout:
        made.append(Dropout(params.dropout, sampling=params.dropout_at_sampling))
    # In one place, so that the layers after it keep their names, and with them their initial weights.
    return nn.Sequential(*made) if len(made) > 1 else made[0]


def flat_norm(kind: str, units: int) -> list[nn.Module]:
    """Return the normalisation of a linear layer's output; nothing where the kind is none, or one of weights."""
    if kind == "batch":
        return [nn.BatchNorm1d(units)]
    return [nn.LayerNorm(units)] if kind == "layer" else []


def image_norm(kind: str, channels: int) -> list[nn.Module]:
    """Return the normalisation of a convolution's output; nothing where the kind is none, or one of weights.

    "layer" has one mean and deviation for a whole sample, and a gain and bias for each channel (group normalisation
    with one group); "instance" has them for each channel of a sample (Ulyanov et al. 2016), with a gain and a bias too.
    """
    if kind == "batch":
        return [nn.BatchNorm2d(channels)]
    if kind == "layer":
        return [nn.GroupNorm(1, channels)]
    return [nn.InstanceNorm2d(channels, affine=True)] if kind == "instance" else []


def shaped(shape: tuple[int, ...]) -> list[nn.Module]:
    """Return what turns the numbers of a linear layer into a sample; images are bounded by tanh."""
    return [nn.Unflatten(1, shape), *([nn.Tanh()] if len(shape) == IMAGE_DIMS else [])]


def spectrally(network: nn.Module, norm: str) -> nn.Module:
    """Return a network of D; where `norm` is "spectral", every layer's weight is normalised (Miyato et al. 2018)."""
    if norm == "spectral":
        for layer in [module for module in network.modules() if isinstance(module, WEIGHTED)]:
            spectral(layer)
    return network


def as_decoder(params: NormedParams) -> NormedParams:
    """Return the parameters with which a generator is D's decoder: with D's norm, and without random numbers."""
    return params.model_copy(update={"norm_g": params.norm_d, **UNRANDOM})


def halvings(network: str, shape: tuple[int, ...]) -> tuple[int, int]:
    """Return the size at which a square image cannot be halved further, and how often it was halved.

    Raises:
        ConfigError: it is no square image, or cannot be halved at all.
    """
    size, count = shape[-1], 0
    while size % 2 == 0 and size > SMALLEST:
        size, count = size // 2, count + 1
    if len(shape) != IMAGE_DIMS or shape[1] != shape[2] or count == 0:
        raise ConfigError(
            f"network {network} needs square images of an even size above {SMALLEST}, but the data's shape is {shape}"
        )
    return size, count
