"""Notice that a training has failed, and say of what."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from trainers.stability.events import Event


@dataclass(frozen=True, kw_only=True)
class Series:
    """One signal's recorded values: `steps` int64 [n], ascending, and `values` float32 [n]."""

    steps: npt.NDArray[np.int64]
    values: npt.NDArray[np.float32]


@dataclass(frozen=True, kw_only=True)
class Window:
    """What a detector sees: the steps since the last look, and before them as many as it looks back on.

    Attributes:
        signals: by name; a signal that this training does not have is missing.
        after: events at this step or before it were reported already.
        every: steps between two values of a signal, by name.
        d_floor: the least value that D's loss can have, or None.
    """

    signals: Mapping[str, Series]
    after: int
    every: Mapping[str, int]
    d_floor: float | None


Detector = Callable[[Window], Event | None]
