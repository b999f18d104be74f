"""How often detectors stop a healthy training, and how many failing ones they see in time: `make alarms`.

Trainings of random hyper-parameters run to their end with every detector only telling, and are labelled by what came
out alone: failing is one with a score that is not finite, or a last score worse than 5 times that of the objective's
default on the same data, or than that of the generator before the first update. Histories are kept, and detectors look
at them as they are by default now: the first event of each says whether it would have stopped a healthy training, or a
failing one before half of its steps. Thresholds are chosen on the seeds of `tuning` (`make alarms-tuning`). Those of
`report` are others after each look at them that a rule was changed after: the ones here were looked at once.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import math
import statistics
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, replace
from multiprocessing import get_context
from pathlib import Path
from typing import Any, Literal

import numpy as np

HISTORIES = Path("build/alarms")
ROOT = Path(__file__).parents[1]
TARGET = Path(__file__).with_suffix(".md")
KEPT = Path(__file__).with_suffix(".jsonl")
LOOKED_BY = ("trainers/stability", "trainers/params/detectors.py")  # whose change makes what was seen stale
STEPS, SEGMENT, TIMES_WORSE = 4000, 250, 5.0
FIRST_SEED = {"default": 100, "tuning": 10_000, "report": 30_000}  # 20,000 and on were looked at before
NUMBER = {"default": 3, "tuning": 240, "report": 360}
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
    """What came out of a training.

    Attributes:
        part, objective, data, seed, config: as of `Training`.
        untrained: the score before the first update.
        scores: of its evaluations, None where not finite.
        events: of each detector that spoke, as it is by default, its first step and its action.
        detectors: digest of what looked.
    """

    part: Part
    objective: str
    data: str
    seed: int
    config: Mapping[str, Any]
    untrained: float
    scores: Sequence[float | None]
    events: Mapping[str, tuple[int, str]]
    detectors: str


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
    under_way = loop.Training(plain, None)
    untrained = next(iter(under_way.scores().values()))
    scores: list[float | None] = []
    batches: list[pa.RecordBatch] = []
    while under_way.step < plain.steps:
        segment = under_way.advance()
        scores.append(next(iter(segment.scores.values()), None))
        batches.append(segment.history)
    constants = {**asdict(under_way.constants), "segment_steps": SEGMENT}
    table = pa.Table.from_batches(batches).replace_schema_metadata({"constants": json.dumps(constants)})
    with pa.OSFile(str(histories / f"{training.seed}.arrow"), "wb") as sink, pa.ipc.new_file(sink, table.schema) as out:
        out.write_table(table)
    bare = Outcome(**asdict(training), untrained=untrained, scores=scores, events={}, detectors="")
    return looked_at(bare, histories)


def looked_at(outcome: Outcome, histories: Path) -> Outcome:
    """Let today's detectors look at a training's history."""
    from benchmarks import replay

    return replace(outcome, events=replay.events(outcome, histories), detectors=looking())


def looking() -> str:
    """Return a digest of the code that looks at histories."""
    roots = [ROOT / name for name in LOOKED_BY]
    files = [file for root in roots for file in (sorted(root.rglob("*.py")) if root.is_dir() else [root])]
    return hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()[:12]


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


# -- kept and resumed --------------------------------------------------------------------------------------------------


def read(file: Path) -> list[Outcome]:
    """Return what was trained so far."""
    told = [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []
    return [Outcome(**one | {"events": {k: tuple(v) for k, v in one["events"].items()}}) for one in told]


def fresh(outcomes: Sequence[Outcome], histories: Path) -> list[Outcome]:
    """Return outcomes as today's detectors see them; without those that others saw and whose history is not here."""
    now, found = looking(), []
    for outcome in outcomes:
        if outcome.detectors == now:
            found.append(outcome)
        elif (histories / f"{outcome.seed}.arrow").exists():
            found.append(looked_at(outcome, histories))
    return found


def main() -> None:
    """Train what is missing, and write the page."""
    from benchmarks import alarms_page, ceiling

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kept", type=Path, default=KEPT, help="file of outcomes; a run goes on from there")
    parser.add_argument("--histories", type=Path, default=HISTORIES, help="folder: other thresholds need no training")
    parser.add_argument("--part", choices=("tuning", "report"), default="report")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--out", type=Path, default=TARGET)
    chosen = parser.parse_args()
    chosen.histories.mkdir(parents=True, exist_ok=True)
    outcomes = fresh(read(chosen.kept), chosen.histories)
    chosen.kept.write_text("".join(json.dumps(asdict(outcome)) + "\n" for outcome in outcomes))
    done = {outcome.seed for outcome in outcomes}
    wanted = [*trainings("default"), *trainings(chosen.part)]
    missing = [training for training in wanted if training.seed not in done]
    with ProcessPoolExecutor(chosen.workers, mp_context=get_context("spawn")) as pool, chosen.kept.open("a") as file:
        for outcome in pool.map(train, missing, [chosen.histories] * len(missing)):
            file.write(json.dumps(asdict(outcome)) + "\n")
            file.flush()
    outcomes = read(chosen.kept)
    floor = defaults(outcomes)
    seen = [alarms_page.Seen(one, fails(one, floor)) for one in outcomes if one.part == chosen.part]
    told = alarms_page.page(__doc__ or "", seen, chosen.part, ceiling.told(seen, chosen.histories))
    chosen.out.write_text(told)
    print(told)


if __name__ == "__main__":
    main()
