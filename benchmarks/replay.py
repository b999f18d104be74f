"""Let detectors look again at histories that were kept: another threshold needs no other training."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from benchmarks.alarms import SEGMENT, Outcome
from trainers.config import TrainConfig
from trainers.params.detectors import DetectorParams
from trainers.registry import find
from trainers.stability import Constants, Series, Window
from trainers.stability.events import Event
from trainers.watch import EVALUATED, MEANS


def read(file: Path) -> pa.Table:
    """Return the history of a training that `benchmarks.alarms` kept, with its constants."""
    with pa.memory_map(str(file)) as source:
        return pa.ipc.open_file(source).read_all()


def windows(history: pa.Table, scores: Sequence[float | None], untrained: float) -> Iterator[Window]:
    """Yield what detectors saw at the end of each segment; they look back as far as they like.

    Args:
        history: as `read` returns it.
        scores: of each segment, None where one is not finite.
        untrained: the score before the first update.
    """
    known = json.loads(history.schema.metadata[b"constants"]) | {"untrained": untrained}
    segment = known.pop("segment_steps")
    steps = history["step"].to_numpy()
    series = dict(_series(history, steps))
    there = [(place * segment, score) for place, score in enumerate(scores, start=1) if score is not None]
    ends, found = np.array(there, dtype=np.float64).reshape(-1, 2).T
    series["score"] = Series(steps=ends.astype(np.int64), values=found.astype(np.float32))
    for name, of in MEANS.items():
        if of in series:
            series[name] = _means(series[of], segment, int(steps[-1]))
    every = {name: int(np.median(np.diff(one.steps))) if len(one.steps) > 1 else 1 for name, one in series.items()}
    every |= dict.fromkeys(EVALUATED, segment)
    for stop in range(segment, int(steps[-1]) + 1, segment):
        signals = {name: _until(one, stop) for name, one in series.items()}
        signals = {name: one for name, one in signals.items() if len(one.steps)}
        yield Window(signals=signals, after=stop - segment, every=every, constants=Constants(**known))


def first_event(params: DetectorParams, seen: list[Window]) -> Event | None:
    """Return the first event that a detector with these parameters finds."""
    detect = find("detector", params.name).load_make()(params)
    for window in seen:
        if params.applies(window.known) and (event := detect(window)) is not None:
            found: Event = event
            return found
    return None


def events(outcome: Outcome, histories: Path) -> dict[str, tuple[int, str]]:
    """Return what detectors, with their defaults, say first of a kept history; a score that is not finite is an event.

    Args:
        outcome: whose history it is.
        histories: folder of histories.
    """
    seen = list(windows(read(histories / f"{outcome.seed}.arrow"), outcome.scores, outcome.untrained))
    found: dict[str, tuple[int, str]] = {}
    for name, params in TrainConfig.model_validate(dict(outcome.config)).stability.items():
        event = first_event(params, seen)
        if event is not None:
            found[name] = event.step, event.action
    broken = [(place * SEGMENT, "stop") for place, score in enumerate(outcome.scores, start=1) if score is None]
    if broken:
        found["non_finite"] = min(*broken[:1], found.get("non_finite", broken[0]))
    return found


def _series(history: pa.Table, steps: np.ndarray[Any, np.dtype[np.int64]]) -> Iterator[tuple[str, Series]]:
    for name in history.column_names:
        column = history[name]
        if name != "step" and column.null_count < len(column):
            there = column.is_valid().to_numpy()
            values = column.drop_null().to_numpy().astype(np.float32)
            yield name, Series(steps=steps[there], values=values)


def _means(series: Series, segment: int, last: int) -> Series:
    ends = np.arange(segment, last + 1, segment)
    finite, means = np.isfinite(series.values), []
    for end in ends:
        part = series.values[finite & (series.steps > end - segment) & (series.steps <= end)]
        means.append(float(part.mean(dtype=np.float64)) if len(part) else np.nan)
    there = ~np.isnan(means)
    return Series(steps=ends[there], values=np.array(means, dtype=np.float32)[there])


def _until(series: Series, stop: int) -> Series:
    there = series.steps <= stop
    return Series(steps=series.steps[there], values=series.values[there])
