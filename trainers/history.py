"""Every step's signals: a buffer on the device, an Arrow record batch, a window for the detectors."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import torch
from torch import Tensor

from trainers.draws import every_step
from trainers.game import Game, Player
from trainers.stability import Series
from trainers.stability.derived import Derived, derived
from trainers.stability.measures import singular_values, update_ratio

MOST_SAID = 2**22  # 16 MiB
Rows = npt.NDArray[np.float32]  # [steps, signals]
Steps = npt.NDArray[np.int64]

SIGNALS = (
    "d_loss", "g_loss", "logit_real", "logit_fake", "logit_real_var", "logit_fake_var", "accuracy_d", "grad_norm_d",
    "grad_norm_g", "penalty", "interpolate_norm", "penalty_share", "grad_slope_d", "grad_slope_g", "non_finite",
    "update_ratio_d", "update_ratio_g", "gap_train", "gap_held_out", "real_beyond", "diversity", "clip_share",
)  # fmt: skip
"""Columns that every history has, in order; those that a training does not have stay empty."""


@dataclass(frozen=True, kw_only=True)
class Source:
    """Where a signal comes from: at which steps it has a value, and how far apart these are, as a rule."""

    due: Callable[[int], bool]
    every: int
    lazy: int = 1
    late: int = 0

    def at(self, steps: Steps) -> npt.NDArray[np.bool_]:
        """Return at which steps there is a value."""
        due = np.fromiter(map(self.due, steps.tolist()), dtype=np.bool_, count=len(steps))
        found: npt.NDArray[np.bool_] = due & (steps % self.lazy == 0) & (steps > self.late)
        return found


class Signals:
    """Preallocated buffers [steps, signals] on the device, one for whoever reports, read once a segment.

    Args:
        game: whose players report; its probe and its weights are measured every `slow_every` steps.
        names: columns of the history, in order; more follow: others that a player reports, and those of its layers.
        slow_every: steps between two values of what is expensive.
        device: where the buffers lie.
        most_said: numbers that D said which are kept until they are reduced, of one step at least.
    """

    def __init__(
        self, game: Game, names: Sequence[str], slow_every: int, device: torch.device, most_said: int = MOST_SAID
    ) -> None:
        self._game, self._slow, self._device, self._most_said = game, slow_every, device, most_said
        self._sources = self._found()
        self._derived: dict[str, Derived] = derived(self._sources)
        self._sources |= {name: self._sources[one.like] for name, one in self._derived.items()}
        if "non_finite" in names:
            self._sources["non_finite"] = Source(due=every_step, every=1)
        own = (name for name in self._sources if name not in names)
        self.names = (*names, *own)
        self._reported = self._reports()
        self._told: dict[str, Tensor] = {}
        self._kept: dict[str, tuple[int, Tensor]] = {}  # of who says something: rows before the block under way, and it

    def _found(self) -> dict[str, Source]:
        sources: dict[str, Source] = {}
        for player in self._game.players:
            own = Source(due=player.due, every=player.every)
            for name in player.signals:
                lazy, late = player.lazy.get(name, 1), player.late.get(name, 0)
                every = math.lcm(player.every, lazy)
                sources[name] = replace(own, every=every, lazy=lazy, late=late)
            slow = replace(own, every=math.lcm(player.every, self._slow), lazy=self._slow)
            sources |= dict.fromkeys(_layers(player), own)
            sources[_ratio(player)] = slow
        slow = Source(due=every_step, every=self._slow, lazy=self._slow)
        probe = self._game.probe
        sources |= {} if probe is None else dict.fromkeys(probe.signals, replace(slow, late=probe.late))
        return sources | dict.fromkeys(self._sigmas(), slow)

    def _sigmas(self) -> list[str]:
        sampler = self._game.networks.get(self._game.sampler)
        number = 0 if sampler is None else len(singular_values(sampler))
        return [f"sigma_g.{layer}" for layer in range(1, number + 1)]

    def _reports(self) -> dict[str, list[str | None]]:
        """Return what is written at once, by who writes it; None is what is not kept, but for a player's whole norm."""
        found: dict[str, list[str | None]] = {}
        for player in self._game.players:
            layers = iter(_layers(player))
            found[player.name] = [
                *player.reported,
                *(next(layers) if weight.dim() > 1 else None for weight in player.weights),
            ]
            found[_ratio(player)] = [_ratio(player)]
            if player.said is not None:
                found[_said(player)] = [*player.said.signals]
        probe = self._game.probe
        return found | {"": [*(() if probe is None else probe.signals), *self._sigmas()]}

    @property
    def every(self) -> Mapping[str, int]:
        """Steps between two values of each signal that this game has."""
        return {name: source.every for name, source in self._sources.items()}

    # -- on the device: nothing waits for it ---------------------------------------------------------------------------

    def reset(self, steps: int) -> None:
        """Make room for a segment."""
        nan = float("nan")
        self._told = {
            name: torch.full((steps, len(reported)), nan, device=self._device)
            for name, reported in self._reported.items()
        }
        self._kept.clear()

    def put(self, row: int, player: Player, values: Sequence[Tensor], said: Tensor | None = None) -> None:
        """Write what a player reports at one step of the segment, with the gradient norm of each of its weights.

        Args:
            row: of the step in the segment.
            player: who reports.
            values: what it reports, then the norms.
            said: by D of real samples, then of as many fakes; a block of steps is reduced at once.
        """
        torch.stack(tuple(values), out=self._told[player.name][row])
        if said is None:
            return
        first, block = self._kept.get(player.name, (0, ()))
        if not first <= row < first + len(block):
            self._reduce(player)
            size = max(1, min(len(self._told[player.name]), self._most_said // said.numel()))
            first, block = row, torch.full((size, said.numel()), float("nan"), device=self._device)
            self._kept[player.name] = first, block
        block[row - first].copy_(said.view(-1))

    def _reduce(self, player: Player) -> None:
        if player.said is None or player.name not in self._kept:
            return
        first, block = self._kept.pop(player.name)
        told = self._told[_said(player)][first : first + len(block)]
        told.copy_(player.said.reduce(block[: len(told)].view(len(told), 2, -1)))

    def before(self, step: int) -> dict[str, list[Tensor]]:
        """Return copies of the weights of the players that move at a step, if it is one at which they are measured."""
        if step % self._slow:
            return {}
        return {p.name: [weight.detach().clone() for weight in p.weights] for p in self._game.players if p.due(step)}

    def after(
        self, row: int, step: int, weights: Mapping[str, list[Tensor]], batch: Mapping[str, Tensor], held_out: Tensor
    ) -> None:
        """Write what is measured every `slow_every` steps, once the players have moved."""
        for player in self._game.players:
            if player.name in weights:
                now = [weight.detach() for weight in player.weights]
                ratio = update_ratio(weights[player.name], now)
                self._told[_ratio(player)][row].copy_(ratio)
        probe, absent = self._game.probe, torch.full((), float("nan"), device=self._device)
        found = {} if probe is None or step <= probe.late else probe.measure(batch, held_out, step)
        values = [] if probe is None else [found.get(name, absent) for name in probe.signals]
        sampler = self._game.networks.get(self._game.sampler)
        values += [] if sampler is None else singular_values(sampler)
        if values:
            torch.stack(values, out=self._told[""][row])

    # -- on the host ---------------------------------------------------------------------------------------------------

    def rows(self, start: int) -> Rows:
        """Read the segment that began after step `start`, float32 [steps, signals]; NaN also where there is no value.

        What follows from other signals is added: a player's gradient norm from those of its weights, and `non_finite`,
        how many of a step's signals are NaN or infinite.
        """
        rows = self._read()
        for name, one in self._derived.items():
            inputs = {key: rows[:, self.names.index(key)] for key in one.of}
            rows[:, self.names.index(name)] = one.compute(inputs)
        if "non_finite" in self._sources:
            present = self._present(np.arange(start + 1, start + 1 + len(rows), dtype=np.int64))
            own = self.names.index("non_finite")
            mask = np.stack([present[name] for name in self.names], axis=1)
            mask[:, own] = False
            rows[:, own] = (mask & ~np.isfinite(rows)).sum(axis=1)
        return rows

    def _read(self) -> Rows:
        for player in self._game.players:
            self._reduce(player)
        told = {name: buffer.cpu().numpy() for name, buffer in self._told.items()}
        rows: Rows = np.full((len(next(iter(told.values()))), len(self.names)), np.nan, dtype=np.float32)
        for name, reported in self._reported.items():
            there = [place for place, signal in enumerate(reported) if signal is not None]
            rows[:, [self.names.index(str(reported[place])) for place in there]] = told[name][:, there]
        for player in self._game.players:
            norms = told[player.name][:, len(player.reported) :].astype(np.float64)
            rows[:, self.names.index(player.signals[-1])] = np.sqrt(np.square(norms).sum(axis=1))
        return rows

    def batch(self, rows: Rows, start: int) -> pa.RecordBatch:
        """Return the segment as Arrow: `step`, then a float32 column a signal, null where there is no value."""
        steps = np.arange(start + 1, start + 1 + len(rows), dtype=np.int64)
        present = self._present(steps)
        columns = [pa.array(steps)]
        for index, name in enumerate(self.names):
            columns.append(pa.array(rows[:, index], mask=~present[name], from_pandas=False))
        return pa.RecordBatch.from_arrays(columns, names=["step", *self.names])

    def series(self, rows: Rows, start: int) -> dict[str, Series]:
        """Return each signal's values in the segment that began after step `start`; none is missing there."""
        steps = np.arange(start + 1, start + 1 + len(rows), dtype=np.int64)
        present = self._present(steps)
        masks = ((name, rows[:, index], present[name]) for index, name in enumerate(self.names))
        return {name: Series(steps=steps[mask], values=column[mask]) for name, column, mask in masks if mask.any()}

    def _present(self, steps: Steps) -> dict[str, npt.NDArray[np.bool_]]:
        found: dict[Source, npt.NDArray[np.bool_]] = {}
        for source in self._sources.values():
            if source not in found:
                found[source] = source.at(steps)
        none = np.zeros(len(steps), dtype=np.bool_)
        return {name: found[self._sources[name]] if name in self._sources else none for name in self.names}


def _suffix(player: Player) -> str:
    return player.signals[-1].removeprefix("grad_norm_")


def _ratio(player: Player) -> str:
    return f"update_ratio_{_suffix(player)}"


def _said(player: Player) -> str:
    return f"{player.name} said"


def _layers(player: Player) -> list[str]:
    """Return the names of the gradient norms of a player's weight matrices and kernels, from the first layer on."""
    number = sum(weight.dim() > 1 for weight in player.weights)
    return [f"{player.signals[-1]}.{layer}" for layer in range(1, number + 1)]
