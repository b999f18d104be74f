"""Variants by name, by entry point, or as module:name.

A variant is a frozen parameter model, which imports no torch, and a function `make(params)` that is loaded only where a
training needs it. What `make` returns depends on the kind:

objective   trainers.objectives.Objective: the losses of D and G as functions of logits
penalty     trainers.penalties.Penalty: a term of D's loss from a batch
network     trainers.networks.Networks: builders of a generator and a discriminator
data        trainers.data.Dataset: fixed train and held-out parts
detector    trainers.stability.Detector: a window of signals to an event or nothing
metric      trainers.evaluation.Metric: a score of generated samples against held-out ones
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from importlib.metadata import entry_points
from typing import Any, Literal, get_args

from pydantic import BaseModel, ConfigDict

from trainers.errors import ConfigError, nearest

Kind = Literal["objective", "penalty", "network", "data", "detector", "metric"]
KINDS: tuple[Kind, ...] = get_args(Kind)


class Part(BaseModel):
    """A frozen, validated piece of a configuration that round-trips through JSON."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", allow_inf_nan=False, populate_by_name=True, serialize_by_alias=True
    )


class Params(Part):
    """Base of every variant's parameters: `name` says which variant they belong to."""

    name: str


@dataclass(frozen=True, kw_only=True)
class Variant:
    """A row of the registry: `params` and `make` are objects, or 'module:attribute' to be loaded when needed."""

    kind: Kind
    name: str
    summary: str
    params: type[Params] | str = Params
    make: Callable[[Any], Any] | str

    def load_params(self) -> type[Params]:
        """Return the parameter model; imports no torch for the variants that are shipped."""
        loaded: type[Params] = _load(self.params) if isinstance(self.params, str) else self.params
        return loaded

    def load_make(self) -> Callable[[Any], Any]:
        """Return the function that turns the parameters into the thing itself; imports torch."""
        loaded: Callable[[Any], Any] = _load(self.make) if isinstance(self.make, str) else self.make
        return loaded


def _row(kind: Kind, name: str, summary: str, make: str, params: str | type[Params] = Params) -> Variant:
    return Variant(kind=kind, name=name, summary=summary, make=make, params=params)


SHIPPED: tuple[Variant, ...] = (
    _row(
        "objective",
        "non_saturating",
        "GAN whose generator maximises log D(G(z)) (Goodfellow et al. 2014)",
        "trainers.objectives.non_saturating:make",
    ),
    _row(
        "objective",
        "wasserstein",
        "Kantorovich-Rubinstein dual; wants clip or a penalty (Arjovsky et al. 2017)",
        "trainers.objectives.wasserstein:make",
    ),
    _row("penalty", "none", "no penalty", "trainers.penalties:make_none"),
    _row(
        "penalty",
        "gradient",
        "two-sided gradient penalty of WGAN-GP (Gulrajani et al. 2017)",
        "trainers.penalties:make_gradient",
        "trainers.config:GradientPenaltyParams",
    ),
    _row(
        "network",
        "mlp",
        "fully connected generator and discriminator",
        "trainers.networks.mlp:make",
        "trainers.config:MlpParams",
    ),
    _row(
        "network",
        "dcgan",
        "strided convolutions with batch normalisation (Radford et al. 2015)",
        "trainers.networks.dcgan:make",
        "trainers.config:DcganParams",
    ),
    _row("data", "digits", "1,797 scanned 8x8 digits that scikit-learn ships", "trainers.data.digits:make"),
    _row(
        "data",
        "mnist",
        "28x28 digits in MNIST's file format",
        "trainers.data.vision:make_mnist",
        "trainers.config:VisionParams",
    ),
    _row(
        "data",
        "fashion_mnist",
        "28x28 clothes in MNIST's file format",
        "trainers.data.vision:make_fashion_mnist",
        "trainers.config:VisionParams",
    ),
    _row("data", "ring8", "8 Gaussians on a circle", "trainers.data.mixtures:make_ring8"),
    _row("data", "grid25", "25 Gaussians on a 5x5 grid", "trainers.data.mixtures:make_grid25"),
    _row(
        "detector",
        "d_loss_zero",
        "the discriminator's loss stays at 0: it has won and teaches nothing",
        "trainers.stability.detectors:make_d_loss_zero",
        "trainers.config:DLossZeroParams",
    ),
    _row(
        "detector",
        "exploding_gradient",
        "a player's gradient norm stays above 100",
        "trainers.stability.detectors:make_exploding_gradient",
        "trainers.config:ExplodingGradientParams",
    ),
    _row(
        "detector",
        "non_finite",
        "a signal is NaN or infinite",
        "trainers.stability.detectors:make_non_finite",
        "trainers.config:NonFiniteParams",
    ),
    _row(
        "metric",
        "frechet",
        "Frechet distance on features of a small classifier of the data set",
        "trainers.evaluation.images:make_frechet",
    ),
    _row(
        "metric",
        "mixture_kl",
        "reverse KL over modes and low-quality samples of a Gaussian mixture",
        "trainers.evaluation.mixtures:make_mixture_kl",
    ),
)


@cache
def _rows(kind: Kind) -> dict[str, Variant]:
    rows = {row.name: row for row in SHIPPED if row.kind == kind}
    for point in entry_points(group=f"gansearch.{kind}"):
        rows.setdefault(point.name, point.load())
    return rows


def known(kind: Kind) -> tuple[Variant, ...]:
    """Return the named variants of a kind: the shipped ones, then those of installed packages."""
    return tuple(_rows(kind).values())


def find(kind: Kind, name: str) -> Variant:
    """Return the variant of that name.

    Args:
        kind: what is looked for.
        name: a shipped name, an entry point's name, or `module:attribute` of a Variant of the user's own.

    Raises:
        ConfigError: nothing has that name; the message suggests the nearest one.
    """
    if ":" in name:
        return _own(kind, name)
    rows = _rows(kind)
    if name not in rows:
        names = ", ".join(sorted(rows))
        raise ConfigError(f"unknown {kind} {name!r}{nearest(name, rows)} (known: {names}, or module:name)")
    return rows[name]


def _own(kind: Kind, name: str) -> Variant:
    if not all(part.isidentifier() for part in name.replace(":", ".").split(".")) or name.count(":") != 1:
        raise ConfigError(f"{kind} {name!r} must be module:name, such as my_package.variants:MINE")
    try:
        found = _load(name)
    except (ImportError, AttributeError) as error:
        raise ConfigError(f"{kind} {name!r} cannot be imported: {error}") from error
    if not isinstance(found, Variant) or found.kind != kind:
        raise ConfigError(f"{name!r} must be a Variant of kind {kind!r}, but is {found!r}")
    return found


def _load(path: str) -> Any:
    module, _, attribute = path.partition(":")
    return getattr(importlib.import_module(module), attribute)
