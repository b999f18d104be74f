"""Train every cell of the matrix: `make matrix`, which goes on where it was ended.

Each cell is a trial of 2,000 steps of a study, on ring8 and on digits, with one setting but for what is named below. A
cell has improved if its score after the last step is lower than that of the same generator before the first one. What
is written is what came out. The setting is ours: Adam without momentum, as in WGAN-GP's and SNGAN's ResNets; what is
set for one alone was chosen by training some cells that the literature calls stable, among them all that had not
improved in a first run, before this one. On ring8 the score is the sliced Wasserstein distance, since mixture_kl is the
same for every generator without samples within three standard deviations of a mode, whether it has found the ring or
not.
"""

from __future__ import annotations

import argparse
import platform
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa

from benchmarks.cells import OWN, SPACES, stable
from pipeline import config
from pipeline.book import Book, Trial
from pipeline.launch import Driver, launch
from pipeline.place import Place, Study, open_study
from pipeline.records import TrialState
from trainers import data
from trainers.config import TrainConfig
from trainers.evaluation import make_evaluator
from trainers.history_file import from_bytes
from trainers.loop import Training

METRICS = {"ring8": "sliced_wasserstein", "digits": "frechet"}
TARGET = Path(__file__).with_suffix(".md")
STEPS = 2000
SETTING = (
    f"steps={STEPS}", "segment_steps=500", "halving.enabled=false", "batch_size=64", "latent.size=16",
    "optim.beta1=0", "optim.beta2=0.9", "evaluation.samples=1000",
)  # fmt: skip
ENDS = "exploding_gradient"  # of the detectors alone, as when this page was made: its norms are what is asked for
ACTIONS = {name: "warn" for name in TrainConfig().stability if name != "non_finite"} | {ENDS: "stop"}
DETECTORS = tuple(f"stability.{name}.action={action}" for name, action in ACTIONS.items())
HEAD = ("objective", "penalty", "network", "untrained", "best", "last", "improved", "state", "called stable by")
SHOWN = ("d_loss", "g_loss", "logit_real", "logit_fake", "grad_norm_d", "grad_norm_g")
HEAD_OF_FAILED = ("cell", "what became of it", *SHOWN, "called stable by")
FAILED = "Signals are medians over the last segment that was trained; docs/matrix.md says what they tell."
STORE = Path("build/matrix")


def search(name: str, store: Path, trials: int | None, workers: int) -> None:
    """Train the cells of a data set that are not trained yet."""
    space = SPACES[name]
    options = {
        "store": str(store),
        "study": f"matrix-{name}",
        "data": name,
        "space": f"benchmarks.cells:{name.upper()}",
        "trials": trials or len(space.branches),
        "workers": workers,
    }
    launch(config.load(None, (*SETTING, *DETECTORS, f"metrics=[{METRICS[name]}]"), options), Driver(say=print))


@dataclass(frozen=True, kw_only=True)
class Cell:
    """What became of a cell.

    Attributes:
        name: objective, penalty and network, with + between them.
        before: score of the untrained generator.
        scores: after each segment that has one.
        state: how its trial ended, and why where it did not come to its end.
        completed: whether it came to its end.
        signals: median over its last segment, by name.
        config: what was trained.
    """

    name: str
    before: float
    scores: tuple[float, ...]
    state: str
    completed: bool
    signals: Mapping[str, float]
    config: TrainConfig

    @property
    def source(self) -> str | None:
        """Who in the literature calls the cell stable, or None."""
        return stable(self.name)

    @property
    def improved(self) -> bool:
        """Whether the trained generator is better than the untrained one."""
        return self.completed and self.scores[-1] < self.before


def cell(trial: Trial, before: float, metric: str, history: pa.Table) -> Cell:
    """Return what became of a trial's cell, given its score untrained and its last segment's history."""
    state = trial.state.value
    if trial.state is not TrialState.COMPLETED:
        event = next((e for s in trial.segments if (e := s.result.stopping) is not None), None)
        reason = trial.decision.reason if trial.decision is not None else "not ended yet"
        state += f": {event.kind} at step {event.step}" if event is not None else f": {reason}"
    values = {name: history[name].drop_null().to_numpy() for name in SHOWN if name in history.column_names}
    return Cell(
        name=str(trial.spec.params["space"]),
        before=before,
        scores=tuple(s.result.scores[metric] for s in trial.segments if metric in s.result.scores),
        state=state,
        completed=trial.state is TrialState.COMPLETED,
        signals={name: float(np.median(found)) for name, found in values.items() if len(found)},
        config=trial.spec.config,
    )


def studied(name: str, store: Path) -> tuple[Study, bytes | None]:
    """Return a data set's study, and the extractor that it scores with."""
    study = open_study(Place(store=str(store), study=f"matrix-{name}"))
    digest = study.book.begun.extractor
    return study, None if digest is None else study.store.get(digest)


def cells(study: Study, extractor: bytes | None) -> list[Cell]:
    """Return a study's cells."""
    metric = study.book.begun.metric
    found = []
    for trial in study.book.trials.values():
        before = Training(trial.spec.config, extractor).scores().get(metric, float("inf"))
        last = trial.segments[-1:]
        history = from_bytes(study.store.get(last[0].result.history)) if last else pa.table({})
        found.append(cell(trial, before, metric, history))
    return sorted(found, key=lambda cell: cell.name)


def gaussian(book: Book, extractor: bytes | None) -> float:
    """Return the score of samples that have the data's mean and covariance, and nothing else of them."""
    config = next(iter(book.trials.values())).spec.config
    dataset = data.load(config.data)
    flat = dataset.train.reshape(len(dataset.train), -1).astype(np.float64)
    draws = np.random.Generator(np.random.Philox(key=0))
    drawn = draws.multivariate_normal(flat.mean(axis=0), np.cov(flat, rowvar=False), config.evaluation.samples)
    samples = drawn.astype(np.float32).reshape(-1, *dataset.shape)
    scores = make_evaluator(config, dataset, extractor).scores(samples.clip(-1, 1) if dataset.is_image else samples)
    return scores[book.begun.metric]


def page(tables: Mapping[str, tuple[list[Cell], float]]) -> str:
    """Return the page of each data set's cells, and of the score that a Gaussian has there."""
    lines = ["# Every objective with every penalty and every network", "", "Generated by `make matrix`."]
    lines += [" ".join((__doc__ or "").split("\n\n", 1)[1].split()), ""]
    lines += ["Setting: " + ", ".join(f"`{item}`" for item in SETTING) + f"; {platform.machine()}.", ""]
    lines += [
        f"Of one objective or network alone: {_own()}. Of the detectors `{ENDS}` and `non_finite` end a cell.",
        "",
    ]
    for name, (found, reference) in tables.items():
        failed = [cell for cell in found if not cell.improved]
        lines += [f"## {name}", "", _summary(found, reference), "", *table(HEAD, map(_row, found))]
        lines += [f"### {name}: cells that failed", "", FAILED, "", *table(HEAD_OF_FAILED, map(_evidence, failed))]
    return "\n".join(lines)


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """Return the lines of a table, and an empty one."""
    lines = [" | ".join(head), " | ".join(["---"] * len(head)), *(" | ".join(row) for row in rows)]
    return [*(f"| {line} |" for line in lines), ""]


def _row(cell: Cell) -> list[str]:
    scores = (cell.before, min(cell.scores), cell.scores[-1]) if cell.scores else (cell.before,)
    shown = [f"{score:.3g}" for score in scores] + [""] * (3 - len(scores))
    return [*cell.name.split("+"), *shown, "yes" if cell.improved else "no", cell.state, cell.source or ""]


def _evidence(cell: Cell) -> list[str]:
    became = cell.state
    if cell.completed:
        became = "worse at the end than before" if min(cell.scores) < cell.before else "never better than untrained"
    signals = [f"{cell.signals[name]:.3g}" if name in cell.signals else "" for name in SHOWN]
    return [cell.name.replace("+", ", "), became, *signals, cell.source or ""]


def _own() -> str:
    return "; ".join(f"{of} " + ", ".join(f"`{k}={v}`" for k, v in fixed.items()) for of, fixed in OWN.items())


def _summary(found: Sequence[Cell], reference: float) -> str:
    states = Counter(cell.state.split(":")[0] for cell in found)
    known = [cell for cell in found if cell.source]
    good = [cell for cell in known if cell.improved]
    below = [cell for cell in good if cell.scores[-1] < reference]
    return (
        f"{len(found)} cells: {', '.join(f'{n} {state}' for state, n in sorted(states.items()))}. Of {len(known)} that "
        f"the literature calls stable, {len(good)} improved over the untrained generator, and {len(below)} ended below "
        f"{reference:.3g}, the score of a Gaussian with the data's mean and covariance."
    )


def main() -> None:
    """Train, and write the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--store", type=Path, default=STORE, help="where the studies are")
    parser.add_argument("--trials", type=int, help="cells of each data set [all]")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--data", nargs="+", choices=list(SPACES), default=list(SPACES))
    parser.add_argument("--out", type=Path, default=TARGET)
    parser.add_argument("--page", action="store_true", help="train nothing: write what is trained so far")
    chosen = parser.parse_args()
    tables = {}
    for name in chosen.data:
        if not chosen.page:
            search(name, chosen.store, chosen.trials, chosen.workers)
        study, extractor = studied(name, chosen.store)
        tables[name] = cells(study, extractor), gaussian(study.book, extractor)
    chosen.out.write_text(page(tables))
    print(chosen.out)


if __name__ == "__main__":
    main()
