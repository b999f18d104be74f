"""What a game remembers: samples generated earlier, and an earlier checkpoint of a player."""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping
from typing import TYPE_CHECKING

import torch
from torch import nn

from trainers.config import ReplayConfig, SwapConfig
from trainers.draws import Draw
from trainers.errors import ConfigError

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor

LARGEST = 2**30  # bytes of a memory


class Replay(nn.Module):
    """A memory of generated samples, from which a share of those that D sees is taken.

    Each D update reads as many samples from it as it puts new ones in: `share` of those that D sees, or `size` where
    that is less. New ones go to a place that is drawn at random and to those after it, as Shrivastava et al. 2017
    (section 2.3) replace a random part of theirs; until it is full they are put in a row.

    Args:
        config: its size and the share.
        rows: samples that D sees in an update.
        shape: of one sample.

    Raises:
        ConfigError: it would be larger than a checkpoint should be.
    """

    kept: Tensor

    def __init__(self, config: ReplayConfig, rows: int, shape: tuple[int, ...]) -> None:
        super().__init__()
        self.count = max(1, min(round(config.share * rows), config.size))
        self.size = config.size
        if (kept := self.size * math.prod(shape) * 4) > LARGEST:
            raise ConfigError(
                f"replay.size must keep at most {LARGEST // 2**20} MiB of samples, which every checkpoint holds, but "
                f"{self.size} samples of {math.prod(shape)} numbers take {kept // 2**20} MiB"
            )
        self.register_buffer("kept", torch.zeros(config.size, *shape))
        self._fresh: Tensor | None = None
        self._places: Tensor | None = None

    def draws(self) -> tuple[Draw, ...]:
        """Return the random tensors of a step: where samples are taken from and put."""
        return (
            Draw(name="replay_from", prior="unit", shape=(self.count,)),
            Draw(name="replay_to", prior="unit", shape=()),
        )

    def mix(self, fake: Float[Tensor, "rows *shape"], batch: Mapping[str, Tensor], step: int) -> Tensor:
        """Return the samples that D sees: the first of them are earlier ones, as far as there are any."""
        filled = min(self.size, (step - 1) * self.count)
        self._fresh = fake[: self.count].detach()
        first = filled if filled < self.size else (batch["replay_to"] * self.size).long()
        self._places = (torch.arange(self.count, device=fake.device) + first) % self.size
        if filled == 0:
            return fake
        taken = self.kept[(batch["replay_from"] * filled).long().clamp_(max=filled - 1)]
        return torch.cat((taken, fake[self.count :]))

    def after(self, _step: int) -> None:
        """Put this step's samples into the memory."""
        if self._fresh is not None and self._places is not None:
            self.kept.index_copy_(0, self._places, self._fresh)
        self._fresh = None


class Earlier(nn.Module):
    """A copy of a network as it was some steps ago, which stands in for it at times.

    Args:
        network: that it is a copy of.
        config: when it plays, and so when it may be renewed.
    """

    def __init__(self, network: nn.Module, config: SwapConfig) -> None:
        super().__init__()
        self.copied = copy.deepcopy(network).requires_grad_(requires_grad=False)
        self._every, self._steps = config.every, config.steps
        self._pairs = [(mine, new) for mine, new in zip(self._all(self.copied), self._all(network), strict=True)]

    @staticmethod
    def _all(network: nn.Module) -> list[Tensor]:
        return [*network.parameters(), *network.buffers()]

    def after(self, step: int) -> None:
        """Renew the copy after the first step in which it no longer plays.

        Args:
            step: each of them in turn: the copy is renewed at some alone, whether or not its player moves there.
        """
        if (step - 1) % self._every == self._steps:
            with torch.no_grad():
                for mine, new in self._pairs:
                    mine.copy_(new)

    def forward(self, inputs: Tensor) -> Tensor:
        """Return what the earlier network says."""
        said: Tensor = self.copied(inputs)
        return said
