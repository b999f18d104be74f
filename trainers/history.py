"""Every step's signals: a buffer on the device, an Arrow record batch, a window for the detectors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import torch
from torch import Tensor

from trainers.game import Game, Player
from trainers.stability import Series, Window

Rows = npt.NDArray[np.float32]  # [steps, signals]


class Signals:
    """A preallocated buffer [steps, signals] on the device, read once a segment.

    Args:
        game: whose players report.
        names: columns of the history, in order; those that no player reports stay empty.
        device: where the buffer lies.
    """

    def __init__(self, game: Game, names: Sequence[str], device: torch.device) -> None:
        self.names = tuple(names)
        self._owners = {name: player for player in game.players for name in player.signals}
        self._every = {name: owner.every * owner.lazy.get(name, 1) for name, owner in self._owners.items()}
        self._columns = {
            player.name: torch.tensor([self.names.index(name) for name in player.signals], device=device)
            for player in game.players
        }
        self._device = device
        self._buffer = torch.empty(0, device=device)

    @property
    def every(self) -> Mapping[str, int]:
        """Steps between two values of each signal that this game has."""
        return self._every

    def reset(self, steps: int) -> None:
        """Make room for a segment."""
        self._buffer = torch.full((steps, len(self.names)), float("nan"), device=self._device)

    def put(self, row: int, player: Player, values: list[Tensor]) -> None:
        """Write what a player reports at one step of the segment; nothing waits for the device."""
        self._buffer[row].index_copy_(0, self._columns[player.name], torch.stack(values))

    def rows(self) -> Rows:
        """Read the segment, float32 [steps, signals]; NaN also where there is no value."""
        rows: Rows = self._buffer.cpu().numpy()
        return rows

    def batch(self, rows: Rows, start: int) -> pa.RecordBatch:
        """Return the segment as Arrow: `step`, then a float32 column a signal, null where there is no value."""
        steps = np.arange(start + 1, start + 1 + len(rows), dtype=np.int64)
        columns = [pa.array(steps)]
        for index, name in enumerate(self.names):
            columns.append(pa.array(rows[:, index], mask=~self._present(name, steps), from_pandas=False))
        return pa.RecordBatch.from_arrays(columns, names=["step", *self.names])

    def window(self, rows: Rows, stop: int, after: int, d_floor: float | None) -> Window:
        """Return what detectors see of the rows that end at step `stop`."""
        steps = np.arange(stop - len(rows) + 1, stop + 1, dtype=np.int64)
        signals = {
            name: Series(steps=steps[present], values=rows[present, index])
            for index, name in enumerate(self.names)
            if (present := self._present(name, steps)).any()
        }
        return Window(signals=signals, after=after, every=self._every, d_floor=d_floor)

    def _present(self, name: str, steps: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
        owner = self._owners.get(name)
        if owner is None:
            return np.zeros(len(steps), dtype=np.bool_)
        return np.array([owner.reports(name, step) for step in steps.tolist()], dtype=np.bool_)
