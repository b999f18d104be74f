"""Generator and discriminator builders."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, get_args

from trainers.errors import ConfigError
from trainers.params.networks import Init
from trainers.registry import Params, find

if TYPE_CHECKING:
    from torch import nn

Shape = tuple[int, ...]


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

    generator: Callable[[int, Shape], nn.Module]
    discriminator: Callable[[Shape, int], nn.Module]
    init: Init
    decoder: Callable[[int, Shape], nn.Module] | None = None


def load(params: Params) -> Networks:
    """Return the builders of a network variant; each tries what it built on two samples of zeros.

    Raises:
        ConfigError: here, or by a builder: what was made is none, its init is not known, or an output has not the shape
            that it must have, so that a loss would be taken over other numbers than those of the samples.
    """
    made = find("network", params.name).load_make()(params)
    if not isinstance(made, Networks):
        raise ConfigError(f"network {params.name} must make Networks, but made {made!r}")
    if made.init not in get_args(Init):
        known = ", ".join(get_args(Init))
        raise ConfigError(f"network {params.name}: init must be one of {known}, but is {made.init!r}")
    decoder = made.decoder or made.generator
    return replace(
        made,
        generator=lambda latent, shape: _tried(params, "generator", made.generator(latent, shape), (latent,), shape),
        decoder=lambda code, shape: _tried(params, "decoder", decoder(code, shape), (code,), shape),
        discriminator=lambda shape, outputs: _tried(
            params, "discriminator", made.discriminator(shape, outputs), shape, (outputs,)
        ),
    )


def _tried(params: Params, what: str, network: nn.Module, given: Shape, wanted: Shape) -> nn.Module:
    import torch
    from torch import nn

    where = f"network {params.name}: its {what} must"
    if not isinstance(network, nn.Module):
        raise ConfigError(f"{where} be a torch.nn.Module, but is {network!r}")
    training = network.training
    network.eval()  # no statistics are taken, and nothing is remembered
    with torch.no_grad():
        found = network(torch.zeros(2, *given))
    network.train(training)
    shape = list(found.shape) if isinstance(found, torch.Tensor) else type(found).__name__
    if shape != [2, *wanted]:
        raise ConfigError(f"{where} turn [2, {_shown(given)}] into [2, {_shown(wanted)}], but gives {shape}")
    return network


def _shown(shape: Shape) -> str:
    return ", ".join(map(str, shape))
