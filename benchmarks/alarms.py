"""How often detectors stop a healthy training, and how many failing ones they see in time: `make alarms`.

Trainings of random hyper-parameters run to their end with every detector only telling, and are labelled by what came
out alone: failing is one with a score that is not finite, or a last score worse than 5 times that of the objective's
default on the same data, or than that of the generator before the first update. Then each detector's first event says
whether it would have stopped a healthy training, or a failing one before half of its steps. Thresholds were chosen on
the seeds of `tuning`; those of `report` were looked at for this page alone.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any, Literal

import numpy as np

STORE = Path("build/alarms")
TARGET = Path(__file__).with_suffix(".md")
STEPS, SEGMENT, TIMES_WORSE = 4000, 250, 5.0
FIRST_SEED = {"default": 100, "tuning": 10_000, "report": 20_000}
NUMBER = {"default": 3, "tuning": 240, "report": 480}
Part = Literal["default", "tuning", "report"]
POINTS = {"metrics": ["sliced_wasserstein"]}
DATA: dict[str, dict[str, Any]] = {
    "grid25": {"data": "grid25", **POINTS},
    "swiss_roll": {"data": "swiss_roll", **POINTS},
    "digits": {"data": "digits"},
}
GRADIENT = {"objective": "wasserstein", "penalty": {"name": "gradient", "lambda": 10.0}, "n_critic": 5}
OBJECTIVES: dict[str, dict[str, Any]] = {
    "non_saturating": {"objective": "non_saturating"},
    "minimax": {"objective": "minimax"},
    "least_squares": {"objective": "least_squares"},
    "hinge": {"objective": "hinge"},
    "relativistic": {"objective": "relativistic"},
    "non_saturating, R1": {"objective": "non_saturating", "penalty": {"name": "r1", "lambda": 1.0}},
    "wasserstein, clip": {"objective": "wasserstein", "clip": 0.1, "n_critic": 5},
    "wasserstein, gradient": GRADIENT,
}
DEFAULT_OPTIM = {"lr_d": 1e-3, "lr_g": 1e-3, "beta1": 0.5}
DEFAULT_NETWORK = {"name": "mlp", "width": 64, "depth": 3, "norm_g": "batch"}
RATES = 1e-4, 1e-1  # below, so short a training learns nothing, but fails in no other way


@dataclass(frozen=True)
class Training:
    """One training: which, and its configuration as JSON."""

    part: Part
    objective: str
    data: str
    seed: int
    config: Mapping[str, Any]


@dataclass(frozen=True)
class Outcome:
    """What came out of a training: scores of its evaluations, and the first step at which each kind of event was seen.

    `untrained` is the score before the first update; a score that is not finite is None.
    """

    part: Part
    objective: str
    data: str
    seed: int
    config: Mapping[str, Any]
    untrained: float
    scores: Sequence[float | None]
    events: Mapping[str, tuple[int, str]]  # step and default action


def trainings(part: Part) -> Iterator[Training]:
    """Yield the trainings of a part, objectives and data sets in turn."""
    cells = [(objective, data) for objective in OBJECTIVES for data in DATA]
    number = NUMBER[part] * (len(cells) if part == "default" else 1)
    for place in range(number):
        objective, data = cells[place % len(cells)]
        seed = FIRST_SEED[part] + place
        config = {"seed": seed, "steps": STEPS, "segment_steps": SEGMENT, "evaluation": {"samples": 1000}}
        config |= DATA[data] | OBJECTIVES[objective] | {"optim": DEFAULT_OPTIM}
        config |= {"network": DEFAULT_NETWORK, "latent": {"size": 16}}
        yield Training(part, objective, data, seed, config if part == "default" else varied(config, seed))


def varied(config: Mapping[str, Any], seed: int) -> dict[str, Any]:
    """Return a configuration with hyper-parameters drawn at random from wide ranges."""
    draw = np.random.Generator(np.random.Philox(key=seed))

    def log_uniform(low: float, high: float) -> float:
        return float(10 ** draw.uniform(math.log10(low), math.log10(high)))

    found = dict(config)
    optim = {"lr_d": log_uniform(*RATES), "lr_g": log_uniform(*RATES), "beta1": float(draw.uniform(0, 0.95))}
    found["optim"] = optim | {"name": str(draw.choice(["adam", "adam", "rmsprop"]))}
    found["n_critic"] = int(draw.choice([1, 2, 5]))
    depth, width = int(draw.integers(2, 6)), int(draw.choice([32, 64, 128]))
    norms = {"norm_g": str(draw.choice(["none", "batch"]))}
    found["network"] = {"name": "mlp", "width": width, "depth": depth, **norms}
    if "clip" in found:
        found["clip"] = log_uniform(1e-3, 1.0)
    if "penalty" in found:
        found["penalty"] = {**found["penalty"], "lambda": log_uniform(1e-2, 1e2)}
    return found


def train(training: Training, histories: Path) -> Outcome:
    """Train to the end, whatever the detectors say, and keep the history: another threshold needs no other training."""
    import pyarrow as pa

    from trainers import loop
    from trainers.config import TrainConfig

    plain = TrainConfig.model_validate(dict(training.config))
    actions = {name: params.action for name, params in plain.stability.items()}
    told = {name: {"action": "warn"} for name in actions}
    under_way = loop.Training(TrainConfig.model_validate({**training.config, "stability": told}), None)
    untrained = next(iter(under_way.scores().values()))
    scores: list[float | None] = []
    batches: list[pa.RecordBatch] = []
    events: dict[str, tuple[int, str]] = {}
    while under_way.step < plain.steps:
        segment = under_way.advance()
        scores.append(next(iter(segment.scores.values()), None))
        batches.append(segment.history)
        for event in segment.events:
            events.setdefault(event.kind, (event.step, actions.get(event.kind, "stop")))
    constants = {**asdict(under_way.constants), "segment_steps": SEGMENT}
    table = pa.Table.from_batches(batches).replace_schema_metadata({"constants": json.dumps(constants)})
    with pa.OSFile(str(histories / f"{training.seed}.arrow"), "wb") as sink, pa.ipc.new_file(sink, table.schema) as out:
        out.write_table(table)
    told_by = asdict(training)
    return Outcome(**told_by, untrained=untrained, scores=scores, events=events)


# -- what came out -----------------------------------------------------------------------------------------------------


def defaults(outcomes: Sequence[Outcome]) -> dict[tuple[str, str], float]:
    """Return the median last score of each objective's default on each data set."""
    cells: dict[tuple[str, str], list[float]] = {}
    for outcome in outcomes:
        if outcome.part == "default":
            last = outcome.scores[-1]
            cells.setdefault((outcome.objective, outcome.data), []).append(math.inf if last is None else last)
    return {cell: statistics.median(scores) for cell, scores in cells.items()}


def fails(outcome: Outcome, defaults: Mapping[tuple[str, str], float]) -> str | None:
    """Return why a training counts as failing, or None."""
    last = outcome.scores[-1]
    if None in outcome.scores or last is None:
        return "not finite"
    if last > outcome.untrained:
        return "worse than untrained"
    if last > TIMES_WORSE * defaults[outcome.objective, outcome.data]:
        return "5 times worse than the default"
    return None


def interval(hits: int, of: int) -> tuple[float, float]:
    """Return the 95 % interval of a share (Clopper and Pearson 1934)."""
    from scipy.stats import binomtest

    found = binomtest(hits, of).proportion_ci(0.95, method="exact")
    return float(found.low), float(found.high)


def stopped(outcome: Outcome, before: int) -> str | None:
    """Return the stopping detector that was first, if one was before a step or at it."""
    found = [(step, kind) for kind, (step, action) in outcome.events.items() if action == "stop" and step <= before]
    return min(found)[1] if found else None


def page(outcomes: Sequence[Outcome], part: Part) -> str:
    """Return both tables."""
    floor = defaults(outcomes)
    chosen = [outcome for outcome in outcomes if outcome.part == part]
    labelled = [(outcome, fails(outcome, floor)) for outcome in chosen]
    healthy = [outcome for outcome, why in labelled if why is None]
    failing = [(outcome, why) for outcome, why in labelled if why is not None]
    false = [kind for outcome in healthy if (kind := stopped(outcome, STEPS)) is not None]
    caught = [kind for outcome, _ in failing if (kind := stopped(outcome, STEPS // 2)) is not None]
    lines = ["# False and true alarms", "", f"Generated by `make alarms`. {' '.join((__doc__ or '').split()[16:])}", ""]
    lines += [f"Part: {part}, {len(chosen)} trainings of {STEPS:,} steps, {len(OBJECTIVES)} objectives on {len(DATA)}"]
    lines[-1] += " data sets."
    lines += [
        "",
        "| trainings | number | stopped in time | share | 95 % interval | target |",
        "|---|---|---|---|---|---|",
    ]
    for name, hits, of, target in (
        ("healthy", len(false), len(healthy), "at most 5 %"),
        ("failing, before half of the budget", len(caught), len(failing), "at least 80 %"),
    ):
        low, high = interval(hits, of)
        lines.append(f"| {name} | {of} | {hits} | {hits / of:.1%} | {low:.1%} to {high:.1%} | {target} |")
    lines += ["", "## By detector", "", "| detector | action | in healthy | in failing, in time | first there |"]
    lines += ["|---|---|---|---|---|", *_by_kind(healthy, [outcome for outcome, _ in failing])]
    lines += ["", "## What failing trainings are", "", "| why | number | stopped in time |", "|---|---|---|"]
    for why, number in Counter(why for _, why in failing).most_common():
        seen = sum(stopped(outcome, STEPS // 2) is not None for outcome, reason in failing if reason == why)
        lines.append(f"| {why} | {number} | {seen} |")
    lines += ["", "## By objective and data", "", "| objective | data | healthy | stopped | failing | in time |"]
    lines += ["|---|---|---|---|---|---|", *_by_cell(labelled)]
    return "\n".join(lines) + "\n"


def _by_kind(healthy: Sequence[Outcome], failing: Sequence[Outcome]) -> Iterator[str]:
    kinds = {kind: action for outcome in (*healthy, *failing) for kind, (_, action) in outcome.events.items()}
    first = Counter(stopped(outcome, STEPS // 2) for outcome in failing)
    for kind, action in sorted(kinds.items(), key=lambda item: (item[1], item[0])):
        false = sum(kind in outcome.events for outcome in healthy)
        true = sum(outcome.events.get(kind, (STEPS, ""))[0] <= STEPS // 2 for outcome in failing)
        yield f"| {kind} | {action} | {false} | {true} | {first[kind]} |"


def _by_cell(labelled: Sequence[tuple[Outcome, str | None]]) -> Iterator[str]:
    for objective in OBJECTIVES:
        for data in DATA:
            cell = [(o, why) for o, why in labelled if (o.objective, o.data) == (objective, data)]
            well = [o for o, why in cell if why is None]
            bad = [o for o, why in cell if why is not None]
            false = sum(stopped(o, STEPS) is not None for o in well)
            true = sum(stopped(o, STEPS // 2) is not None for o in bad)
            yield f"| {objective} | {data} | {len(well)} | {false} | {len(bad)} | {true} |"


# -- kept and resumed --------------------------------------------------------------------------------------------------


def read(store: Path) -> list[Outcome]:
    """Return what was trained so far."""
    file = store / "outcomes.jsonl"
    return [Outcome(**json.loads(line)) for line in file.read_text().splitlines()] if file.exists() else []


def main() -> None:
    """Train what is missing, and write the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--store", type=Path, default=STORE, help="where outcomes are kept; a run goes on from there")
    parser.add_argument("--part", choices=("tuning", "report"), default="report")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--out", type=Path, default=TARGET)
    chosen = parser.parse_args()
    (chosen.store / "histories").mkdir(parents=True, exist_ok=True)
    done = {outcome.seed for outcome in read(chosen.store)}
    wanted = [*trainings("default"), *trainings(chosen.part)]
    missing = [training for training in wanted if training.seed not in done]
    with (
        ProcessPoolExecutor(chosen.workers, mp_context=get_context("spawn")) as pool,
        (chosen.store / "outcomes.jsonl").open("a") as file,
    ):
        for outcome in pool.map(train, missing, [chosen.store / "histories"] * len(missing)):
            file.write(json.dumps(asdict(outcome)) + "\n")
            file.flush()
    told = page(read(chosen.store), chosen.part)
    chosen.out.write_text(told)
    print(told)


if __name__ == "__main__":
    main()
