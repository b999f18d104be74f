"""Initial weights, drawn by name from the trial's own streams."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from torch import nn
from torch.nn.utils import parametrize

from trainers.draws import generator

SLOPE = 0.2  # of every LeakyReLU (Radford et al. 2015)
WEIGHTED = (nn.Linear, nn.Conv2d, nn.ConvTranspose2d)


def initialise(network: nn.Module, seed: int, name: str, init: str) -> None:
    """Draw every linear and convolutional weight of `network`; biases become 0, norms keep weight 1 and bias 0.

    Of a parametrized layer, such as one with spectral normalisation, the parameter itself is drawn; what its
    parametrization remembers is drawn from a stream of its own.

    Args:
        network: on the CPU; changed in place.
        seed: the trial's seed.
        name: the network's name, part of each weight's stream.
        init: see `Networks`.
    """
    for path, module in network.named_modules():
        if isinstance(module, WEIGHTED):
            stream = f"init/{name}/{path}"
            drawn = _drawn(module, generator(seed, stream), init)
            with torch.no_grad():
                _parameter(module).copy_(drawn)
                if module.bias is not None:
                    module.bias.zero_()
            for place, parametrization in enumerate(_parametrizations(module)):
                if isinstance(parametrization, Remembers):
                    parametrization.reset(generator(seed, f"{stream}/parametrization/{place}"))


@runtime_checkable
class Remembers(Protocol):
    """A parametrization with random numbers of its own, such as the vector of a power iteration."""

    def reset(self, rng: np.random.Generator) -> None:
        """Draw them anew."""


def _parametrizations(module: Any) -> Iterable[object]:
    return module.parametrizations.weight if parametrize.is_parametrized(module, "weight") else ()


def _parameter(module: Any) -> torch.Tensor:
    parametrized = parametrize.is_parametrized(module, "weight")
    parameter: torch.Tensor = module.parametrizations.weight.original if parametrized else module.weight
    return parameter


def _drawn(module: nn.Module, rng: np.random.Generator, init: str) -> torch.Tensor:
    shape = tuple(_parameter(module).shape)
    if init == "orthogonal":
        return _orthogonal(rng, shape)
    std = 0.02 if init == "normal" else math.sqrt(2.0 / (1 + SLOPE**2) / _fan_in(module))
    return torch.from_numpy(rng.standard_normal(shape, dtype=np.float32) * np.float32(std))


def _orthogonal(rng: np.random.Generator, shape: tuple[int, ...]) -> torch.Tensor:
    """Draw evenly from the matrices [shape[0], rest] with orthonormal rows, or columns where there are fewer of them.

    The gain is 1. The sign of R's diagonal makes Q's distribution even (Mezzadri 2007, "How to generate random matrices
    from the classical compact groups").
    """
    rows, columns = shape[0], math.prod(shape[1:])
    normal = torch.from_numpy(rng.standard_normal((max(rows, columns), min(rows, columns))))
    q, r = torch.linalg.qr(normal)  # torch's threads are part of the configuration, numpy's are not
    q = torch.where(r.diagonal() < 0, -q, q)
    return (q if rows >= columns else q.T).reshape(shape).float()


def _fan_in(module: nn.Module) -> float:
    weight = _parameter(module)
    if isinstance(module, nn.ConvTranspose2d):
        # An output is reached by one tap in `stride` along each axis; with stride 1, here, the input is a single pixel.
        taps = [k / s if s > 1 else 1.0 for k, s in zip(module.kernel_size, module.stride, strict=True)]
        return module.in_channels * math.prod(taps)
    return weight.shape[1] * math.prod(weight.shape[2:])
