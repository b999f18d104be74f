"""Variants as a user may write them by mistake: parameters that JSON does not keep, networks of other shapes."""

import math
from typing import Any

import torch
from torch import nn

from trainers.networks import Networks
from trainers.registry import Params, Variant


class NoNumber(Params):
    """A default that its own type refuses."""

    temperature: float = None  # type: ignore[assignment]


class NotANumber(Params):
    """A default that JSON has no word for."""

    temperature: float = math.nan


class NoJson(Params):
    """A default that JSON cannot hold."""

    temperature: object = object()


class Bent(Params):
    """A default that comes back from JSON as something else."""

    temperature: object = (1, 2)


class Unordered(Params):
    """A default whose order in JSON is another in each process."""

    temperature: set[str] = {"a", "b"}


PARAMS = {params.__name__: params for params in (NoNumber, NotANumber, NoJson, Bent, Unordered)}


def _objective(params: type[Params]) -> Variant:
    return Variant(kind="objective", name=params.__name__, summary="odd", params=params, make=lambda _params: None)


NoNumberV, NotANumberV, NoJsonV, BentV, UnorderedV = map(_objective, PARAMS.values())


def _linear(given: int, wanted: tuple[int, ...]) -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(given, math.prod(wanted)), nn.Unflatten(1, wanted))


class _Scaled(nn.Module):
    """Has a parameter that torch's global generator draws."""

    def __init__(self, shape: tuple[int, ...], outputs: int) -> None:
        super().__init__()
        self.scale, self.last = nn.Parameter(torch.randn(math.prod(shape))), nn.Linear(math.prod(shape), outputs)

    def forward(self, samples: torch.Tensor) -> torch.Tensor:
        said: torch.Tensor = self.last(samples.flatten(1) * self.scale)
        return said


def _networks(**changes: Any) -> Variant:
    built = {
        "generator": _linear,
        "discriminator": lambda shape, outputs: _linear(math.prod(shape), (outputs,)),
        "init": "he",
    }
    return Variant(kind="network", name="odd", summary="odd", make=lambda _params: Networks(**{**built, **changes}))


FINE = _networks()
WIDE_G = _networks(generator=lambda latent, _shape: _linear(latent, (7,)))
ONE_NUMBER_G = _networks(generator=lambda latent, _shape: _linear(latent, (1,)))  # which would broadcast
THREE_D = _networks(discriminator=lambda shape, _outputs: _linear(math.prod(shape), (3,)))
FLAT_D = _networks(
    discriminator=lambda shape, _outputs: nn.Sequential(nn.Flatten(), nn.Linear(math.prod(shape), 1), nn.Flatten(0))
)
WIDE_DECODER = _networks(decoder=lambda code, _shape: _linear(code, (1,)))
NO_MODULE = _networks(discriminator=lambda _shape, _outputs: None)
NO_INIT = _networks(init="glorot")
NO_NETWORKS = Variant(kind="network", name="odd", summary="odd", make=lambda _params: (1, 2))
DROPOUT = _networks(
    discriminator=lambda shape, outputs: nn.Sequential(
        nn.Flatten(), nn.Dropout(0.5), nn.Linear(math.prod(shape), outputs)
    )
)
OWN_WEIGHTS = _networks(discriminator=_Scaled)
NO_OBJECTIVE = Variant(kind="objective", name="odd", summary="odd", make=lambda _params: None)
NO_DATA = Variant(kind="data", name="odd", summary="odd", make=lambda _params: None)
