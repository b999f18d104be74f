"""Dropout and noise inside a network, from numbers that are a function of a key alone; never the global generator.

A key is a whole number that the game draws for each pass; element i of a layer's mask comes from SplitMix64's output
function (Steele et al. 2014, "Fast splittable pseudorandom number generators") at key + (i + 1) times the golden gamma.
The arithmetic is that of 64-bit integers, which are equal on every device.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

import torch
from torch import nn

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor


def _signed(value: int) -> int:
    return value - 2**64 if value >= 2**63 else value


GAMMA = _signed(0x9E3779B97F4A7C15)
MIX = (_signed(0xBF58476D1CE4E5B9), _signed(0x94D049BB133111EB))


def _shifted(words: Tensor, bits: int) -> Tensor:
    return (words >> bits).bitwise_and_(2 ** (64 - bits) - 1)  # torch's shift of an int64 keeps the sign


def uniform(key: Tensor, shape: Sequence[int]) -> Tensor:
    """Return numbers from U(0, 1), the ends excluded, float32 of `shape`.

    Args:
        key: int64, a scalar on the device.
        shape: of what is returned.
    """
    words = torch.arange(1, math.prod(shape) + 1, dtype=torch.int64, device=key.device)
    words.mul_(GAMMA).add_(key)  # in place: layers are large, and a word takes twice the room of a number
    words.bitwise_xor_(_shifted(words, 30)).mul_(MIX[0])
    words.bitwise_xor_(_shifted(words, 27)).mul_(MIX[1])
    words.bitwise_xor_(_shifted(words, 31))
    unit: Tensor = _shifted(words, 41).float().add_(0.5).mul_(2.0**-23)
    return unit.view(*shape)


def normal(key: Tensor, shape: Sequence[int]) -> Tensor:
    """Return numbers from N(0, 1), float32 of `shape` (Box and Muller 1958)."""
    one, two = uniform(key, (math.prod(shape), 2)).unbind(1)
    drawn: Tensor = (-2 * one.log()).sqrt() * (2 * math.pi * two).cos()
    return drawn.view(*shape)


class Stochastic(nn.Module):
    """A layer with random numbers: `key` says which; without one, or where it is silent in evaluation, it does nothing.

    Args:
        sampling: whether it acts in evaluation too.
    """

    def __init__(self, *, sampling: bool) -> None:
        super().__init__()
        self.sampling = sampling
        self.key: Tensor | None = None

    @property
    def acts(self) -> bool:
        """Whether the next pass is a random one."""
        return self.key is not None and (self.training or self.sampling)


class Dropout(Stochastic):
    """Each number is 0 with probability p, else it is divided by 1 - p (Srivastava et al. 2014)."""

    def __init__(self, p: float, *, sampling: bool) -> None:
        super().__init__(sampling=sampling)
        self.p = p

    def forward(self, x: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
        """Return x with some numbers dropped."""
        if self.key is None or not self.acts:
            return x
        return x * (uniform(self.key, x.shape) >= self.p) / (1 - self.p)


class Noise(Stochastic):
    """x + std n, or x (1 + std n), with n from N(0, 1) for each number."""

    def __init__(self, kind: Literal["additive", "multiplicative"], std: float, *, sampling: bool) -> None:
        super().__init__(sampling=sampling)
        self.kind, self.std = kind, std

    def forward(self, x: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
        """Return x with noise."""
        if self.key is None or not self.acts:
            return x
        noise = self.std * normal(self.key, x.shape)
        return x + noise if self.kind == "additive" else x * (1 + noise)


def layers(network: nn.Module) -> list[Stochastic]:
    """Return a network's layers with random numbers, in order."""
    return [module for module in network.modules() if isinstance(module, Stochastic)]


def reseed(network: nn.Module, key: Tensor) -> None:
    """Give each layer a key of its own for the passes to come.

    Args:
        network: changed in place.
        key: int64, a scalar on the network's device.
    """
    for place, layer in enumerate(layers(network)):
        layer.key = key ^ _signed((0xD1342543DE82EF95 * (place + 1)) % 2**64)
