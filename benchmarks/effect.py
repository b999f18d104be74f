"""What stability feedback does for a search: `make effect`.

The same searches, with the same seeds and the same budget of steps, with detectors as they are by default, and with
every detector off; with successive halving, as by default, and with every trial to its end, since halving ends a bad
trial too, whatever the reason; one worker, so that nothing depends on how fast a machine is. A score that is not
finite ends a trial in both. A trial failed where that happened, or where its last score is worse than that of its
generator before the first update; what it trained counts as spent on failing. The target score of a data set is the
median of the best scores that searches without feedback have in the end; a search that never gets there counts with
its whole budget. Detectors change no bit of a training, so that a search in which none of them ended a trial is the one
without them too, and is run once. The ratio is of the medians of those steps, without over with; `at most` is what it
would be if no step were spent on a failing trial, and all went to others as good as those that were there.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass, replace
from itertools import product
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np

STORE = Path(__file__).with_suffix(".jsonl")
TARGET = Path(__file__).with_suffix(".md")
BUDGET, STEPS, SEGMENT, REPETITIONS, RESAMPLES = 40_000, 2000, 250, 10, 10_000
DATA = {
    "ring8": ("metrics=[sliced_wasserstein]",),
    "grid25": ("metrics=[sliced_wasserstein]",),
    "digits": (),
}
SETS = ("network.width=64", "evaluation.samples=1000", f"segment_steps={SEGMENT}", f"halving.first_rung={2 * SEGMENT}")
ARMS = ("with", "without")
SCHEDULES = {"halving": (), "whole": ("halving.enabled=false",)}


TOLD = "best score", "steps to the target", "steps spent on failing trials", "trials"


@dataclass(frozen=True)
class Outcome:
    """A search: its steps and best score wherever that got better, and in the end; and what its trials came to."""

    schedule: str
    data: str
    arm: str
    seed: int
    steps: Sequence[int]
    best: Sequence[float | None]
    failing: int  # steps of trials that failed
    states: Mapping[str, int]


def search(schedule: str, data: str, arm: str, seed: int, budget: int = BUDGET) -> Outcome:
    """Run a search until its budget of steps is used up."""
    from pipeline import config as configs
    from pipeline.book import Book
    from pipeline.launch import Driver, launch
    from pipeline.records import SegmentRecord
    from pipeline.worker import Worker
    from tests.fakes.inline_executor import InlineExecutor
    from tests.fakes.tracker import MemoryTracker
    from trainers.config import TrainConfig

    off = [f"stability.{name}.action=off" for name in TrainConfig().stability] if arm == "without" else []
    with tempfile.TemporaryDirectory() as folder:
        options: dict[str, Any] = {"store": folder, "data": data, "space": "classic", "study": "effect", "seed": seed}
        options |= {"steps": STEPS, "trials": 10_000, "workers": 1}
        used = [0]

        def watch(book: Book) -> None:
            used[0] = sum(trial.steps for trial in book.trials.values())

        result = launch(
            configs.load(None, [*SETS, *SCHEDULES[schedule], *DATA[data], *off], options),
            Driver(watch=watch, should_stop=lambda: used[0] >= budget),
            open_executor=lambda store, *_: InlineExecutor(lambda: Worker(store.uri)),
            open_trackers=lambda *_, **__: [MemoryTracker()],
        )
        book, metric = result.book, result.book.begun.metric
        from pipeline.ledger import read_records
        from pipeline.store import open_store

        records = [r for r in read_records(open_store(folder), "effect") if isinstance(r, SegmentRecord)]
    segments = [(r.result.stop - r.result.start, r.result.scores.get(metric)) for r in records]
    steps, best = progress(segments)
    failing = sum(trial.steps for trial in book.trials.values() if _failed(trial, metric))
    return Outcome(schedule, data, arm, seed, steps, best, failing, {str(k): v for k, v in book.counts.items()})


def both(schedule: str, data: str, seed: int, budget: int = BUDGET) -> list[Outcome]:
    """Return what a search comes to with feedback and without; where no trial diverged, these are one search."""
    with_ = search(schedule, data, "with", seed, budget)
    if with_.states["diverged"]:
        return [with_, search(schedule, data, "without", seed, budget)]
    return [with_, replace(with_, arm="without")]


def progress(segments: Sequence[tuple[int, float | None]]) -> tuple[list[int], list[float | None]]:
    """Return after how many steps which score was the best so far: where it got better, and after the last segment.

    Args:
        segments: in the order in which they were committed, the steps of each and its score, None where it has none.
    """
    steps, trained = [0], 0
    best: list[float | None] = [None]
    for length, score in segments:
        trained += length
        if score is not None and (best[-1] is None or score < best[-1]):
            steps.append(trained)
            best.append(score)
    return [*steps[1:], trained], [*best[1:], best[-1]]


def _failed(trial: Any, metric: str) -> bool:
    from trainers.loop import Training

    last = trial.segments[-1].result.scores.get(metric) if trial.segments else None
    if last is None:
        return bool(trial.segments)
    untrained = _untrained(Training(trial.spec.config, None))
    return bool(last > untrained)


def _untrained(training: Any) -> float:
    return float(next(iter(training.scores().values())))


# -- what came out -----------------------------------------------------------------------------------------------------


def until(outcome: Outcome, target: float) -> int:
    """Return the steps after which a search had a score as good as the target; its budget where it never had."""
    found = (
        steps for steps, best in zip(outcome.steps, outcome.best, strict=True) if best is not None and best <= target
    )
    return min(next(found, BUDGET), BUDGET)


def ratio(one: Sequence[float], two: Sequence[float]) -> tuple[float, float, float]:
    """Return median(two) / median(one) and its 95 % interval, by the bootstrap over pairs of the same seed."""
    pairs = np.array([one, two], dtype=np.float64)
    draw = np.random.Generator(np.random.Philox(key=5))
    drawn = draw.integers(pairs.shape[1], size=(RESAMPLES, pairs.shape[1]))
    medians = np.median(pairs[:, drawn], axis=2)
    low, high = np.quantile(medians[1] / medians[0], [0.025, 0.975])
    return float(np.median(pairs[1]) / np.median(pairs[0])), float(low), float(high)


def page(outcomes: Sequence[Outcome]) -> str:
    """Return the page: a table for each question."""
    lines = ["# What stability feedback does for a search", "", "Generated by `make effect`."]
    lines += [" ".join((__doc__ or "").split("\n\n", 1)[1].split()), ""]
    lines += [f"{BUDGET:,} steps a search, {STEPS:,} a trial at most; space `classic` (wide ranges)."]
    lines += [
        "",
        f"| schedule | data | searches | {' | '.join(f'{what}, with | without' for what in TOLD)} | ratio | at most |",
    ]
    lines += ["|---" * (5 + 2 * len(TOLD)) + "|"]
    for schedule, data in product(SCHEDULES, DATA):
        found = [o for o in outcomes if (o.schedule, o.data) == (schedule, data)]
        arms = {arm: {o.seed: o for o in found if o.arm == arm} for arm in ARMS}
        seeds = sorted(arms["with"].keys() & arms["without"].keys())
        if seeds:
            one, two = ([arms[arm][seed] for seed in seeds] for arm in ARMS)
            lines.append(f"| {schedule} | {data} | {len(seeds)} | {' | '.join(row(one, two))} |")
    return "\n".join(lines) + "\n"


def row(with_: Sequence[Outcome], without: Sequence[Outcome]) -> list[str]:
    """Return the cells of a table's row: medians of both arms, and the ratio of their steps to the target."""
    best = [[_last(o) for o in arm] for arm in (with_, without)]
    target = statistics.median(best[1])
    taken = [[float(until(o, target)) for o in arm] for arm in (with_, without)]
    middle, low, high = ratio(*taken)
    spent = [[float(o.failing) for o in arm] for arm in (with_, without)]
    trials = [[float(sum(o.states.values())) for o in arm] for arm in (with_, without)]
    told = [f"{statistics.median(values):,.4g}" for both in (best, taken, spent, trials) for values in both]
    bound = BUDGET / max(1, BUDGET - statistics.median(spent[1]))
    return [*told, f"{middle:.2f} ({low:.2f} to {high:.2f})", f"{bound:.2f}"]


def _last(outcome: Outcome) -> float:
    score = outcome.best[-1] if outcome.best else None
    return float("inf") if score is None else score


def read(file: Path) -> list[Outcome]:
    """Return the searches that have been run."""
    return [Outcome(**json.loads(line)) for line in file.read_text().splitlines()] if file.exists() else []


def main() -> None:
    """Run the searches that are missing, and write the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--store", type=Path, default=STORE, help="file of outcomes; a run goes on from there")
    parser.add_argument("--repetitions", type=int, default=REPETITIONS)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--out", type=Path, default=TARGET)
    chosen = parser.parse_args()
    done = {(o.schedule, o.data, o.arm, o.seed) for o in read(chosen.store)}
    wanted = [
        (schedule, data, seed)
        for schedule, seed, data in product(SCHEDULES, range(chosen.repetitions), DATA)
        if any((schedule, data, arm, seed) not in done for arm in ARMS)
    ]
    with (
        ProcessPoolExecutor(chosen.workers, mp_context=get_context("spawn")) as pool,
        chosen.store.open("a") as file,
    ):
        for future in as_completed([pool.submit(both, *of) for of in wanted]):
            file.writelines(json.dumps(asdict(outcome)) + "\n" for outcome in future.result())
            file.flush()
    told = page(read(chosen.store))
    chosen.out.write_text(told)
    print(told)


if __name__ == "__main__":
    main()
