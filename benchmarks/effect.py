"""What stability feedback does for a search: `make effect`.

The same searches, with the same seeds and the same budget of steps, with detectors as they are by default, and with
every detector off; one worker, so that nothing depends on how fast a machine is. A score that is not finite ends a
trial in both. A trial failed where that happened, or where its last score is worse than that of its generator before
the first update; what it trained counts as spent on failing. The target score of a data set is the median of the best
scores that searches without feedback have in the end; a search that never gets there counts with its whole budget.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from itertools import product
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np

STORE = Path("build/effect")
TARGET = Path(__file__).with_suffix(".md")
BUDGET, STEPS, SEGMENT, REPETITIONS, RESAMPLES = 60_000, 2000, 250, 10, 10_000
DATA = {
    "ring8": ("metrics=[sliced_wasserstein]",),
    "grid25": ("metrics=[sliced_wasserstein]",),
    "digits": (),
}
SETS = ("network.width=64", "evaluation.samples=1000", f"segment_steps={SEGMENT}", f"halving.first_rung={2 * SEGMENT}")
ARMS = ("with", "without")


@dataclass(frozen=True)
class Outcome:
    """A search: after each segment of it the steps so far and the best score, and what its trials came to."""

    data: str
    arm: str
    seed: int
    steps: Sequence[int]
    best: Sequence[float | None]
    failing: int  # steps of trials that failed
    states: Mapping[str, int]


def search(data: str, arm: str, seed: int) -> Outcome:
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
            configs.load(None, [*SETS, *DATA[data], *off], options),
            Driver(watch=watch, should_stop=lambda: used[0] >= BUDGET),
            open_executor=lambda store, *_: InlineExecutor(lambda: Worker(store.uri)),
            open_trackers=lambda *_, **__: [MemoryTracker()],
        )
        book, metric = result.book, result.book.begun.metric
        from pipeline.ledger import read_records
        from pipeline.store import open_store

        records = [r for r in read_records(open_store(folder), "effect") if isinstance(r, SegmentRecord)]
    steps, best, so_far = [], [], None
    for record in records:
        trained = record.result.stop - record.result.start
        steps.append((steps[-1] if steps else 0) + trained)
        score = record.result.scores.get(metric)
        so_far = score if so_far is None or (score is not None and score < so_far) else so_far
        best.append(so_far)
    failing = sum(trial.steps for trial in book.trials.values() if _failed(trial, metric))
    return Outcome(data, arm, seed, steps, best, failing, {str(k): v for k, v in book.counts.items()})


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
    lines += [
        f"{BUDGET:,} steps a search, {STEPS:,} a trial at most; space `classic` (wide ranges), successive halving."
    ]
    lines += [
        "",
        "| data | searches | best score, with | without | steps to the target, with | without | without / with |",
    ]
    lines += ["|---|---|---|---|---|---|---|"]
    rest = [
        "",
        "| data | steps spent on failing trials, with | without | trials, with | without |",
        "|---|---|---|---|---|",
    ]
    for data in DATA:
        arms = {
            arm: sorted((o for o in outcomes if (o.data, o.arm) == (data, arm)), key=lambda o: o.seed) for arm in ARMS
        }
        seeds = {o.seed for o in arms["with"]} & {o.seed for o in arms["without"]}
        arms = {arm: [o for o in some if o.seed in seeds] for arm, some in arms.items()}
        if not seeds:
            continue
        best = {arm: [o.best[-1] or float("inf") for o in some] for arm, some in arms.items()}
        target = statistics.median(best["without"])
        taken = {arm: [float(until(o, target)) for o in some] for arm, some in arms.items()}
        middle, low, high = ratio(taken["with"], taken["without"])
        medians = [f"{statistics.median(best[arm]):.4g}" for arm in ARMS]
        steps = [f"{statistics.median(taken[arm]):,.0f}" for arm in ARMS]
        told = f"{middle:.2f} ({low:.2f} to {high:.2f})"
        lines.append(f"| {data} | {len(seeds)} | {' | '.join(medians)} | {' | '.join(steps)} | {told} |")
        failing = [f"{statistics.median(o.failing for o in arms[arm]):,.0f}" for arm in ARMS]
        trials = [f"{statistics.median(sum(o.states.values()) for o in arms[arm]):.0f}" for arm in ARMS]
        rest.append(f"| {data} | {' | '.join(failing)} | {' | '.join(trials)} |")
    return "\n".join([*lines, *rest]) + "\n"


def read(store: Path) -> list[Outcome]:
    """Return the searches that have been run."""
    file = store / "outcomes.jsonl"
    return [Outcome(**json.loads(line)) for line in file.read_text().splitlines()] if file.exists() else []


def main() -> None:
    """Run the searches that are missing, and write the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--store", type=Path, default=STORE, help="where outcomes are kept; a run goes on from there")
    parser.add_argument("--repetitions", type=int, default=REPETITIONS)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--out", type=Path, default=TARGET)
    chosen = parser.parse_args()
    chosen.store.mkdir(parents=True, exist_ok=True)
    done = {(o.data, o.arm, o.seed) for o in read(chosen.store)}
    wanted = [(data, arm, seed) for seed, data, arm in product(range(chosen.repetitions), DATA, ARMS)]
    with (
        ProcessPoolExecutor(chosen.workers, mp_context=get_context("spawn")) as pool,
        (chosen.store / "outcomes.jsonl").open("a") as file,
    ):
        for outcome in pool.map(search, *zip(*[w for w in wanted if w not in done], strict=True)):
            file.write(json.dumps(asdict(outcome)) + "\n")
            file.flush()
    told = page(read(chosen.store))
    chosen.out.write_text(told)
    print(told)


if __name__ == "__main__":
    main()
