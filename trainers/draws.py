"""Every random number: a function of (trial seed, stream, step).

A counter-based generator (Philox 4x64-10, Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3") takes the
seed and the stream's name as its key and the step as its counter. So no draw depends on how many were made before it,
on the segment's length or on the device, and nothing needs to be stored to go on with step k.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Literal

import numpy as np
import numpy.typing as npt
import torch

Prior = Literal["normal", "uniform", "unit", "index"]
Array = npt.NDArray[np.generic]


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


@dataclass(frozen=True, kw_only=True)
class Draw:
    """A named random tensor that a game needs at every `every`-th step.

    Attributes:
        name: its name in the batch, and its stream.
        prior: "normal" N(0, 1); "uniform" U(-1, 1); "unit" U(0, 1); "index" integers in [0, high).
        shape: of one step's tensor.
        every: drawn at the steps that are multiples of it.
        high: bound of an index.
    """

    name: str
    prior: Prior
    shape: tuple[int, ...]
    every: int = 1
    high: int = 0

    def numbers(self, seed: int, step: int) -> Array:
        """Return this draw at a step: float32 or int64 of `shape`."""
        return numbers(generator(seed, self.name, step), self.prior, self.shape, self.high)


def numbers(rng: np.random.Generator, prior: Prior, shape: Sequence[int], high: int = 0) -> Array:
    """Draw from a prior: float32 of `shape`, or int64 in [0, high) where the prior is "index"."""
    if prior == "index":
        return rng.integers(0, high, tuple(shape), dtype=np.int64)
    if prior == "normal":
        return rng.standard_normal(tuple(shape), dtype=np.float32)
    unit = rng.random(tuple(shape), dtype=np.float32)
    return unit if prior == "unit" else unit * np.float32(2) - np.float32(1)


class Staged:
    """A segment's random numbers, drawn on the CPU and moved to the device in one piece a name."""

    def __init__(self, draws: Sequence[Draw], seed: int, start: int, stop: int, device: torch.device) -> None:
        self._start = start
        self._every = {draw.name: draw.every for draw in draws}
        self._first = {draw.name: start // draw.every for draw in draws}
        self._tensors: dict[str, torch.Tensor] = {}
        for draw in draws:
            steps = [step for step in range(start + 1, stop + 1) if step % draw.every == 0]
            if steps:
                stacked = np.stack([draw.numbers(seed, step) for step in steps])
                self._tensors[draw.name] = torch.from_numpy(stacked).to(device)

    def at(self, step: int) -> dict[str, torch.Tensor]:
        """Return the tensors of one step, without those that it does not need."""
        return {
            name: tensor[step // self._every[name] - self._first[name] - 1]
            for name, tensor in self._tensors.items()
            if step % self._every[name] == 0
        }
