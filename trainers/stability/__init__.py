"""Notice that a training has failed, and say of what."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields

import numpy as np
import numpy.typing as npt

from trainers.stability.events import Event


@dataclass(frozen=True, kw_only=True)
class Series:
    """One signal's recorded values: `steps` int64 [n], ascending, and `values` float32 [n]."""

    steps: npt.NDArray[np.int64]
    values: npt.NDArray[np.float32]


@dataclass(frozen=True, kw_only=True)
class Constants:
    """What is known of a training beside its signals; None where there is no such thing.

    Attributes:
        d_floor: the least value that D's loss can have.
        boundary: the logit above which D takes a sample for real.
        clip: of D's weights.
        target: the gradient norm at interpolates that a penalty pulls D to.
        untrained: the score before the first update.
        perfect: the score of a perfect generator.
    """

    d_floor: float | None = None
    boundary: float | None = None
    clip: float | None = None
    target: float | None = None
    untrained: float | None = None
    perfect: float | None = None


@dataclass(frozen=True, kw_only=True)
class Window:
    """What a detector sees: the steps since the last look, and before them as many as it looks back on.

    Attributes:
        signals: by name; a signal that this training does not have is missing.
        after: events at this step or before it were reported already.
        every: steps between two values of a signal, by name.
        constants: what is known of the training beside its signals.
    """

    signals: Mapping[str, Series]
    after: int
    every: Mapping[str, int]
    constants: Constants = field(default_factory=Constants)

    @property
    def known(self) -> frozenset[str]:
        """The names of the signals and constants that there are."""
        constants = (f.name for f in fields(self.constants) if getattr(self.constants, f.name) is not None)
        return frozenset((*self.signals, *constants))


Detector = Callable[[Window], Event | None]
