"""Watch a training: its signals, what they were before, and the detectors that look at both."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import torch

from trainers.config import TrainConfig
from trainers.game import Game
from trainers.history import SIGNALS, Rows, Signals
from trainers.params.detectors import DetectorParams
from trainers.registry import find
from trainers.stability import Constants, Detector, Series, Window
from trainers.stability.events import Event
from trainers.stability.windows import EVALUATIONS

MEANS = {"segment_g_loss": "g_loss", "segment_accuracy_d": "accuracy_d"}
EVALUATED = ("score", "dropped", "memorisation", "energy", *MEANS)
SHOWN = ("score", "dropped", "memorisation", "energy")  # the means are of what is shown
MOVES = 2  # of a player in a window, at least: see trainers.stability.windows


@dataclass(frozen=True)
class _Reach:
    """Steps that detectors look back on: at signals of each step, at rarer ones, and at those of evaluations."""

    each: int
    rare: int
    evaluated: int


class Watch:
    """The signals of a training and the detectors that look at them, from one segment to the next.

    Args:
        config: of the training.
        game: that is watched.
        constants: what detectors know of the training beside its signals.
        device: where the signals are, until they are read.
    """

    def __init__(self, config: TrainConfig, game: Game, constants: Constants, device: torch.device) -> None:
        self.signals = Signals(game, SIGNALS, config.slow_every, device)
        self._constants = constants
        chosen = [params for params in config.stability.values() if params.action != "off"]
        self._detectors = [(params, _made(params)) for params in chosen]
        self._reach = _reach(config, chosen)
        self._every = {**self.signals.every, **dict.fromkeys(EVALUATED, config.segment_steps)}
        width = len(self.signals.names)
        self._rows: Rows = np.empty((0, width), dtype=np.float32)
        self._rare: Rows = np.empty((0, width), dtype=np.float32)
        self._evaluated: npt.NDArray[np.float64] = np.empty((0, 1 + len(EVALUATED)))

    @property
    def past(self) -> dict[str, npt.NDArray[np.float32] | npt.NDArray[np.float64]]:
        """What must be kept to go on, as `go_on` takes it."""
        return {"rows": self._rows.copy(), "rare": self._rare.copy(), "evaluated": self._evaluated.copy()}

    def go_on(self, past: Mapping[str, npt.NDArray[np.float32] | npt.NDArray[np.float64]]) -> None:
        """Go on from what another watch of the same training kept; KeyError where something is missing."""
        self._rows = past["rows"].astype(np.float32, copy=False)
        self._rare = past["rare"].astype(np.float32, copy=False)
        self._evaluated = past["evaluated"].astype(np.float64, copy=False)

    def segment(self, start: int, stop: int, found: Mapping[str, float]) -> tuple[pa.RecordBatch, tuple[Event, ...]]:
        """Return the history of the segment that was played, and what the detectors found in it.

        Args:
            start: steps before it.
            stop: its last step.
            found: by the evaluation in its end, some of `EVALUATED`; what is missing or NaN has no value.
        """
        rows = self.signals.rows(start)
        self._evaluated = np.concatenate((self._evaluated, self._row(rows, stop, found)))
        seen = np.concatenate((self._rows, rows))
        events = self._look(seen, start, stop)
        reach = self._reach
        self._rows, self._rare = self.signals.kept(seen, stop, self._rare, reach.each, reach.rare)
        self._evaluated = self._evaluated[self._evaluated[:, 0] > stop - reach.evaluated]
        return self._history(rows, start, found), events

    def _look(self, seen: Rows, start: int, stop: int) -> tuple[Event, ...]:
        series = self.signals.series(seen, stop, self._rare) | self._evaluations()
        window = Window(signals=series, after=start, every=self._every, constants=self._constants)
        found = [detect(window) for params, detect in self._detectors if params.applies(window.known)]
        return tuple(sorted((event for event in found if event is not None), key=lambda event: event.step))

    def _evaluations(self) -> dict[str, Series]:
        steps = self._evaluated[:, 0].astype(np.int64)
        found = {}
        for place, name in enumerate(EVALUATED, start=1):
            values = self._evaluated[:, place]
            there = ~np.isnan(values)
            if there.any():
                found[name] = Series(steps=steps[there], values=values[there].astype(np.float32))
        return found

    def _row(self, rows: Rows, stop: int, found: Mapping[str, float]) -> npt.NDArray[np.float64]:
        means = {name: _mean(rows[:, self.signals.names.index(of)]) for name, of in MEANS.items()}
        known = {**found, **means}
        return np.array([[stop, *(known.get(name, math.nan) for name in EVALUATED)]], dtype=np.float64)

    def _history(self, rows: Rows, start: int, found: Mapping[str, float]) -> pa.RecordBatch:
        batch = self.signals.batch(rows, start)
        last = np.arange(len(rows)) == len(rows) - 1
        for name in SHOWN:
            value = found.get(name, math.nan)
            column = np.full(len(rows), value, dtype=np.float32)
            batch = batch.append_column(name, pa.array(column, mask=~last | math.isnan(value)))
        return batch


def _mean(values: npt.NDArray[np.float32]) -> float:
    finite = values[np.isfinite(values)]
    return float(finite.mean(dtype=np.float64)) if finite.size else math.nan


def _made(params: DetectorParams) -> Detector:
    made: Detector = find("detector", params.name).load_make()(params)
    return made


def _reach(config: TrainConfig, chosen: list[DetectorParams]) -> _Reach:
    """Return how far detectors look back; one value more than a window tells where in time it began."""

    def longest(pace: str) -> int:
        return max((params.window for params in chosen if params.pace == pace), default=1)

    warms = config.warmup.updates or config.warmup.again_every
    seldom = max(config.n_critic, config.warmup.n_critic if warms else 1)  # G's updates are as far apart
    each = max(longest("step") * math.ceil(seldom / config.n_critic), MOVES * seldom) + seldom
    rare = longest("slow") + math.lcm(config.slow_every, config.n_critic)
    evaluated = max(longest("evaluation"), EVALUATIONS * config.segment_steps) + 2 * config.segment_steps
    return _Reach(each, rare, evaluated)
