"""Initial weights, drawn by name from the trial's own streams."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import nn

from trainers.draws import generator

SLOPE = 0.2  # of every LeakyReLU (Radford et al. 2015)
_WEIGHTED = (nn.Linear, nn.Conv2d, nn.ConvTranspose2d)


def initialise(network: nn.Module, seed: int, name: str, init: str) -> None:
    """Draw every linear and convolutional weight of `network`; biases become 0, norms keep weight 1 and bias 0.

    Args:
        network: on the CPU; changed in place.
        seed: the trial's seed.
        name: the network's name, part of each weight's stream.
        init: see `Networks`.
    """
    for path, module in network.named_modules():
        if isinstance(module, _WEIGHTED):
            rng = generator(seed, f"init/{name}/{path}")
            std = 0.02 if init == "normal" else _he_std(module)
            drawn = rng.standard_normal(tuple(module.weight.shape), dtype=np.float32) * np.float32(std)
            with torch.no_grad():
                module.weight.copy_(torch.from_numpy(drawn))
                if module.bias is not None:
                    module.bias.zero_()


def _he_std(module: nn.Module) -> float:
    weight: torch.Tensor = module.weight  # type: ignore[assignment]
    fan_in = weight.shape[1] * math.prod(weight.shape[2:])
    return math.sqrt(2.0 / (1 + SLOPE**2) / fan_in)
