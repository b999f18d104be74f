"""Every random number: a function of (trial seed, stream, step).

A counter-based generator (Philox 4x64-10, Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3") takes the
seed and the stream's name as its key and the step as its counter. So no draw depends on how many were made before it,
on the segment's length or on the device, and nothing needs to be stored to go on with step k.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from types import MappingProxyType
from typing import Literal

import numpy as np
import numpy.typing as npt
import torch

Prior = Literal["normal", "uniform", "unit", "index", "key"]
Array = npt.NDArray[np.generic]
NUMBER = 8  # bytes, at most
ROOM = 2**26  # bytes for staged numbers: instance noise on large images takes gigabytes a segment


@cache
def _stream_key(stream: str) -> int:
    return int.from_bytes(hashlib.blake2b(stream.encode(), digest_size=8).digest(), "little")


def generator(seed: int, stream: str, step: int = 0) -> np.random.Generator:
    """Return the generator of one stream at one step.

    Args:
        seed: the trial's seed, in [0, 2**64).
        stream: any name; different names are independent.
        step: the discriminator update that the numbers are for, at least 0.
    """
    key = np.array([seed, _stream_key(stream)], dtype=np.uint64)
    # The generator counts in the lowest word; the step sits two words above it, so that no two steps can overlap.
    counter = np.array([0, 0, step, 0], dtype=np.uint64)
    return np.random.Generator(np.random.Philox(key=key, counter=counter))


def every_step(_step: int) -> bool:
    """Whether something happens at a step: always."""
    return True


def every(period: int) -> Callable[[int], bool]:
    """Return whether a step is a multiple of a period."""
    return every_step if period == 1 else lambda step: step % period == 0


@dataclass(frozen=True, kw_only=True)
class Draw:
    """A named random tensor that a game needs at the steps at which it is due.

    Attributes:
        name: of the tensor in the batch, and of its stream.
        prior: "normal" N(0, 1), "uniform" U(-1, 1), "unit" U(0, 1), "index" integers in [0, high), or "key" integers
            in [0, 2**63).
        shape: of one step's tensor.
        due: whether a step needs it.
        high: above the largest index.
    """

    name: str
    prior: Prior
    shape: tuple[int, ...]
    due: Callable[[int], bool] = every_step
    high: int = 0

    def numbers(self, seed: int, step: int) -> Array:
        """Return this draw at a step: float32 or int64 of `shape`."""
        return numbers(generator(seed, self.name, step), self.prior, self.shape, self.high)


def numbers(rng: np.random.Generator, prior: Prior, shape: Sequence[int], high: int = 0) -> Array:
    """Draw from a prior: float32 of `shape`, or int64 in [0, high) where the prior is "index"."""
    if prior == "index":
        return rng.integers(0, high, tuple(shape), dtype=np.int64)
    if prior == "key":
        return rng.integers(0, 2**63 - 1, tuple(shape), dtype=np.int64, endpoint=True)
    if prior == "normal":
        return rng.standard_normal(tuple(shape), dtype=np.float32)
    unit = rng.random(tuple(shape), dtype=np.float32)
    return unit if prior == "unit" else unit * np.float32(2) - np.float32(1)


def blocks(draws: Sequence[Draw], start: int, stop: int, room: int = ROOM) -> Iterator[tuple[int, int]]:
    """Split the steps start + 1 to stop into runs whose numbers are staged together; yields (start, stop) of each.

    Args:
        draws: of each step, due or not.
        start: steps before the first run.
        stop: the last run's last step.
        room: bytes that the numbers of a run may take, unless one step's take more.
    """
    a_step = sum(NUMBER * math.prod(draw.shape) for draw in draws)
    length = max(1, room // max(1, a_step))
    for before in range(start, stop, length):
        yield before, min(before + length, stop)


class Staged:
    """The random numbers of some steps, drawn on the CPU and moved to the device in one piece a name.

    Args:
        draws: that the steps need.
        seed: of the trial.
        start: steps before the first of them.
        stop: the last of them.
        device: where the numbers are needed.
        elsewhere: devices of the names that are needed somewhere else.
    """

    def __init__(
        self,
        draws: Sequence[Draw],
        seed: int,
        start: int,
        stop: int,
        device: torch.device,
        elsewhere: Mapping[str, torch.device] = MappingProxyType({}),
    ) -> None:
        self._rows: dict[str, dict[int, int]] = {}  # of each step in its tensor
        self._tensors: dict[str, torch.Tensor] = {}
        for draw in draws:
            steps = [step for step in range(start + 1, stop + 1) if draw.due(step)]
            if steps:
                stacked = np.stack([draw.numbers(seed, step) for step in steps])
                self._rows[draw.name] = {step: row for row, step in enumerate(steps)}
                self._tensors[draw.name] = torch.from_numpy(stacked).to(elsewhere.get(draw.name, device))

    def at(self, step: int) -> dict[str, torch.Tensor]:
        """Return the tensors of one step, without those that it does not need."""
        rows = self._rows.items()
        return {name: self._tensors[name][steps[step]] for name, steps in rows if step in steps}
