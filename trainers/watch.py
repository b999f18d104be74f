"""Watch a training: its signals, what they were before, and the detectors that look at both."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import torch
from pydantic import ValidationError

from trainers.config import TrainConfig
from trainers.errors import ConfigError
from trainers.game import Game
from trainers.history import SIGNALS, Rows, Signals
from trainers.params.detectors import DetectorParams
from trainers.registry import find
from trainers.stability import Constants, Detector, Series, Window
from trainers.stability.events import Event
from trainers.stability.windows import EVALUATIONS
from trainers.state import MisfitError

MEANS = {"segment_g_loss": "g_loss", "segment_accuracy_d": "accuracy_d"}
SHOWN = ("score", "dropped", "memorisation", "energy")
EVALUATED = (*SHOWN, *MEANS)
MOVES = 2  # of G in a window, at least: see d_loss_zero
MOST = 10  # events of a kind in a segment: what begins and ends all the time is told often enough by then
PAIR = 2  # a step and a value


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
        self._every = {**self.signals.every, **dict.fromkeys(EVALUATED, config.segment_steps)}
        self._kept = {name: _kept(name, every, chosen, config) for name, every in self._every.items()}
        self._past: dict[str, Series] = {}

    @property
    def past(self) -> dict[str, npt.NDArray[np.float64]]:
        """What must be kept to go on, as `go_on` takes it: of each signal its latest steps and values, [n, 2]."""
        return {name: np.stack((one.steps, one.values), axis=1, dtype=np.float64) for name, one in self._past.items()}

    def go_on(self, past: Mapping[str, npt.NDArray[np.float64]], step: int) -> None:
        """Go on after a step from what another watch of the same training kept.

        Raises:
            MisfitError: it is of another training, or of another step.
        """
        for name, rows in past.items():
            steps = rows[:, 0] if rows.ndim == PAIR and rows.shape[1] == PAIR else np.full(1, math.inf)
            if len(steps) > self._kept.get(name, 0) or not np.all(np.diff(steps, prepend=0, append=step + 1) > 0):
                raise MisfitError(f"the checkpoint of step {step} does not fit this configuration: its past of {name}")
        self._past = {
            name: Series(steps=rows[:, 0].astype(np.int64), values=rows[:, 1].astype(np.float32))
            for name, rows in past.items()
        }

    def segment(self, start: int, stop: int, found: Mapping[str, float]) -> tuple[pa.RecordBatch, tuple[Event, ...]]:
        """Return the history of the segment that was played, and what the detectors found in it.

        Args:
            start: steps before it.
            stop: its last step.
            found: by the evaluation in its end, some of `SHOWN`; what is missing or NaN has no value.
        """
        rows = self.signals.rows(start)
        new = self.signals.series(rows, start) | self._evaluated(rows, stop, found)
        seen = {name: _joined(self._past.get(name), new.get(name)) for name in {**self._past, **new}}
        events = self._look(seen, start, stop)
        self._past = {name: _last(series, self._kept[name]) for name, series in seen.items()}
        return self._history(rows, start, found), events

    def _look(self, seen: Mapping[str, Series], start: int, stop: int) -> tuple[Event, ...]:
        window = Window(signals=seen, after=start, every=self._every, constants=self._constants)
        events: list[Event] = []
        for params, detect in self._detectors:
            if params.applies(window.known):
                events += _found(params, detect, window, stop)
        return tuple(sorted(events, key=lambda event: event.step))

    def _evaluated(self, rows: Rows, stop: int, found: Mapping[str, float]) -> dict[str, Series]:
        means = {name: _mean(rows[:, self.signals.names.index(of)]) for name, of in MEANS.items()}
        known = {name: {**found, **means}.get(name, math.nan) for name in EVALUATED}
        at = np.array([stop], dtype=np.int64)
        return {
            name: Series(steps=at, values=np.array([value], dtype=np.float32))
            for name, value in known.items()
            if not math.isnan(value)
        }

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
    if not callable(made):
        raise ConfigError(f"detector {params.name} must make a function of a window, but made {made!r}")
    return made


def _found(params: DetectorParams, detect: Detector, window: Window, stop: int) -> Iterator[Event]:
    """Yield what a detector finds in a segment, one after the other.

    Raises:
        ConfigError: it is no event of this detector, or of a step that is not asked for.
    """
    for _ in range(MOST):
        try:
            event = detect(window)
        except ValidationError as error:
            raise ConfigError(f"detector {params.name} made no sound event: {error.errors()[0]['msg']}") from error
        if event is None:
            return
        own = isinstance(event, Event) and (event.kind, event.action) == (params.name, params.action)
        if not (own and window.after < event.step <= stop):
            rule = f"must return None or an event of its own, action {params.action}, step in ({window.after}, {stop}]"
            raise ConfigError(f"detector {params.name} {rule}, but returned {event!r}")
        yield event
        window = replace(window, after=event.step)


def _kept(name: str, every: int, chosen: list[DetectorParams], config: TrainConfig) -> int:
    """Return how many of a signal's values detectors look back on: a window, and what tells what was before it."""
    warms = config.warmup.updates or config.warmup.again_every
    gap = config.warmup.n_critic if warms else 0  # between two updates of G, at times
    least = EVALUATIONS * config.segment_steps if name in EVALUATED else MOVES * config.n_critic
    back = [max(params.window, least) + params.hop + gap for params in chosen if params.looks_at(name)]
    return max(back, default=0) // every + 2


def _joined(old: Series | None, new: Series | None) -> Series:
    parts = [part for part in (old, new) if part is not None]
    return Series(
        steps=np.concatenate([part.steps for part in parts]), values=np.concatenate([part.values for part in parts])
    )


def _last(series: Series, number: int) -> Series:
    return Series(steps=series.steps[-number:], values=series.values[-number:])
