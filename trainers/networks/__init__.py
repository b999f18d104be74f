"""Generator and discriminator builders."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from trainers.params.networks import Init
from trainers.registry import Params, find

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True, kw_only=True)
class Networks:
    """Builders of networks; their weights are drawn afterwards, by `trainers.networks.initial`.

    Attributes:
        generator: (latent size, sample shape) to a module from [batch, latent] to [batch, *shape]; images in [-1, 1].
        discriminator: (sample shape, outputs) to a module from [batch, *shape] to [batch, outputs]. A pack of m samples
            is one with m times the channels, or numbers.
        decoder: as `generator`, from a code: the other half of a D that is an auto-encoder; None builds a generator.
        init: how weights are drawn: "he" (He et al. 2015, for leaky slopes of 0.2), "normal" N(0, 0.02^2) (Radford et
            al. 2015) or "orthogonal" with gain 1 (Saxe et al. 2014).
    """

    generator: Callable[[int, tuple[int, ...]], nn.Module]
    discriminator: Callable[[tuple[int, ...], int], nn.Module]
    init: Init
    decoder: Callable[[int, tuple[int, ...]], nn.Module] | None = None


def load(params: Params) -> Networks:
    """Return the builders of a network variant."""
    networks: Networks = find("network", params.name).load_make()(params)
    return networks
