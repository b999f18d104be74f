"""Generator and discriminator builders."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from trainers.registry import Params, find

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True, kw_only=True)
class Networks:
    """Builders of a pair of networks; their weights are drawn afterwards, by `trainers.networks.initial`.

    Attributes:
        generator: (latent size, sample shape) to a module from [batch, latent] to [batch, *shape]; images in [-1, 1].
        discriminator: sample shape to a module from [batch, *shape] to logits [batch, 1].
        init: "he" (He et al. 2015, for leaky slopes of 0.2) or "dcgan" (N(0, 0.02), Radford et al. 2015).
    """

    generator: Callable[[int, tuple[int, ...]], nn.Module]
    discriminator: Callable[[tuple[int, ...]], nn.Module]
    init: str


def load(params: Params) -> Networks:
    """Return the builders of a network variant."""
    networks: Networks = find("network", params.name).load_make()(params)
    return networks
