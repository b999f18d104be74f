"""Signals that follow from others: computed on the host when a segment is read, so that no step pays for them."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Column = npt.NDArray[np.float32]  # [steps], NaN where there is no value
LEAST_LAYERS = 3  # through which a line is worth drawing
LAYER = re.compile(r"(.+)\.[0-9]+")


@dataclass(frozen=True, kw_only=True)
class Derived:
    """A signal that follows from others.

    Attributes:
        of: names of what it follows from.
        like: the signal at whose steps it has a value.
        compute: their columns to its own.
    """

    of: tuple[str, ...]
    like: str
    compute: Callable[[Mapping[str, Column]], Column]


def derived(names: Collection[str]) -> dict[str, Derived]:
    """Return the signals that follow from those of these names, by name."""
    found: dict[str, Derived] = {}
    if "penalty" in names:
        found["penalty_share"] = Derived(of=("d_loss", "penalty"), like="penalty", compute=penalty_share)
    for player in ("d", "g"):
        layers = tuple(name for name in names if (m := LAYER.fullmatch(name)) and m[1] == f"grad_norm_{player}")
        if len(layers) >= LEAST_LAYERS:
            found[f"grad_slope_{player}"] = Derived(of=layers, like=layers[0], compute=slope)
    return found


def penalty_share(columns: Mapping[str, Column]) -> Column:
    """Return |penalty| / (|penalty| + |d_loss|), in [0, 1]: how much of D's loss is not about samples."""
    penalty, loss = np.abs(columns["penalty"]), np.abs(columns["d_loss"])
    whole = penalty + loss
    with np.errstate(invalid="ignore"):
        share = penalty / np.where(whole == 0, 1, whole)  # neither, at an equilibrium of two points
    return share.astype(np.float32)


def slope(columns: Mapping[str, Column]) -> Column:
    """Return the slope of log10 |gradient of a layer's weights| over depth, in decades a layer (Gulrajani 2017, 1b).

    Positive where gradients grow from the input to the output, which is where they come from: they vanish on their way
    down.
    """
    depth = np.arange(len(columns), dtype=np.float64)
    depth -= depth.mean()
    norms = np.stack(list(columns.values()), axis=1).astype(np.float64)
    with np.errstate(invalid="ignore"):
        decades = np.log10(np.maximum(norms, np.finfo(np.float32).tiny))
        found: Column = (decades @ depth / (depth @ depth)).astype(np.float32)
    return found
