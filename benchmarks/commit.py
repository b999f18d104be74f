"""What a segment costs beside its training: `python -m benchmarks.commit [--store STORE --study NAME] [--write]`.

Trains one trial of examples/digits.yaml, and commits and shows its segments as a driver does, on a disk. Prints medians
with their ranges, what was synced for them, and which share of a search that is; `--write` puts it into
benchmarks/commit.md. With a recorded study of digits its own segments and seconds are taken for the share.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.cost import Cost
from benchmarks.faults import about_here
from pipeline import config, order, policies, records
from pipeline.book import Book, Trial
from pipeline.config import HalvingConfig, SearchConfig
from pipeline.ledger import Ledger
from pipeline.mlflow_store import MlflowTracker
from pipeline.place import Place, open_study
from pipeline.ports import Job, Prepared
from pipeline.search import Search
from pipeline.store import DiskStore
from pipeline.study import Sampler
from pipeline.worker import Worker
from tests.fakes.scripted_executor import Course, ScriptedExecutor

TARGET = Path(__file__).with_suffix(".md")
EXAMPLE = Path(__file__).parents[1] / "examples" / "digits.yaml"
SHOWN_TRIALS = 3


@dataclass
class Trained:
    """A trial of the example that was trained here, and what a worker found out before it."""

    search: SearchConfig
    prepared: Prepared
    spec: records.TrialSpec
    results: list[records.SegmentResult]

    def study(self, name: str) -> records.StudyRecord:
        """Return the first record of a study of that name."""
        found = {"metric": self.prepared.metric, "extractor": self.prepared.extractor, "data": self.prepared.data}
        values = {"at": time.time(), "study": name, "uid": name, "config": self.search.model_dump(mode="json")}
        return records.StudyRecord.model_validate(values | found | {"versions": {}, "code": ""})

    def trial(self, study: str, number: int, params: dict[str, Any] | None = None) -> list[records.Record]:
        """Return the records of a trial that begins, trained as this one was, whatever is asked for."""
        spec = self.spec.model_copy(update={"number": number, "key": f"{study}/{number}"})
        spec = spec if params is None else spec.model_copy(update={"params": params})
        begun = records.AttemptRecord(at=time.time(), trial=number, attempt=0, worker="worker-0", step=0)
        return [records.TrialRecord(at=begun.at, spec=spec), begun]

    def segments(self, number: int) -> Iterator[records.SegmentRecord]:
        """Return the records of a trial's segments."""
        for index, result in enumerate(self.results):
            yield records.SegmentRecord(at=time.time(), trial=number, attempt=0, index=index, result=result)


def trained(store: DiskStore, steps: int | None) -> Trained:
    """Train the first trial of the example, or only some of its steps."""
    search = config.load(EXAMPLE, (), {"steps": steps})
    params = config.first_params(search)[0]
    train = config.train_config(search, params, config.trial_seed(search.seed, 0))
    spec = records.TrialSpec(number=0, key="commit/0", params=params, config=train, origin="default")
    worker = Worker(store.uri)
    prepared = worker.prepare(train)
    results = [worker.start(Job(spec=spec, attempt=0, checkpoint=None, extractor=prepared.extractor))]
    while results[-1].stop < train.steps and results[-1].stopping is None:
        results.append(worker.advance())
    return Trained(search, prepared, spec, results)


# -- the parts ---------------------------------------------------------------------------------------------------------


def blobs_put(done: Trained, store: DiskStore, other: DiskStore) -> Cost:
    """Put the blobs of each segment into another store, as its worker did."""
    cost = Cost()
    for result in done.results:
        names = (result.history, result.samples, result.checkpoint, result.generator)
        blobs = [store.get(name) for name in names if name is not None]
        with cost.measure():
            for blob in blobs:
                other.put(blob)
    return cost


def journal_and_decisions(done: Trained, store: DiskStore) -> dict[str, Cost]:
    """Commit a whole search's worth of segments, one an object, and decide after each; every one is a real record."""
    journal, verdict, due, ask = Cost(), Cost(), Cost(), Cost()
    search, name = done.search, "parts"
    asker = sampler(search)
    with Ledger.open(store, name) as ledger:
        ledger.append(done.study(name))
        for number in range(search.trials):
            with ask.measure():
                params = asker.ask(number, list(ledger.book.trials.values()))
            ledger.append(*done.trial(name, number, params))
            for record in done.segments(number):
                with journal.measure():
                    ledger.stage(record)
                    ledger.commit()
                others = [trial for trial in ledger.book.trials.values() if trial.number != number]
                with verdict.measure():
                    policies.verdict(ledger.book.trials[number], record.result, others, search.halving)
                with due.measure():
                    order.due(ledger.book)
            ledger.append(final(ledger.book.trials[number]))
    told = {"journal: stage and commit a segment": journal, "decision: verdict": verdict}
    return told | {"decision: order in virtual time": due, "decision: ask, once a trial": ask}


def final(trial: Trial) -> records.DecisionRecord:
    """Return the decision that completes a trial."""
    chosen = {} if trial.best is None else {"score": trial.best.result.score, "best_index": trial.best.index}
    told = {"at": time.time(), "trial": trial.number, "state": records.TrialState.COMPLETED, "reason": "trained"}
    return records.DecisionRecord.model_validate(told | chosen)


def projection(done: Trained, store: DiskStore) -> dict[str, Cost]:
    """Show trials in MLflow's SQLite file, a segment at a time, and then that they are completed."""
    segment, whole, name = Cost(), Cost(), "shown"
    with Ledger.open(store, name) as ledger:
        tracker = MlflowTracker(None, store, name)
        ledger.append(done.study(name))
        tracker.show(ledger.book, None, time.time())
        for number in range(SHOWN_TRIALS):
            ledger.append(*done.trial(name, number))
            tracker.show(ledger.book, number, time.time())
            for record in done.segments(number):
                ledger.append(record)
                with segment.measure():
                    tracker.show(ledger.book, number, time.time())
            ledger.append(final(ledger.book.trials[number]))
            with whole.measure():
                tracker.show(ledger.book, number, time.time())
    return {"projection: a segment, MLflow in SQLite": segment, "projection: a trial that is completed": whole}


# -- the loop, and group commit ----------------------------------------------------------------------------------------


class Loop(NamedTuple):
    """What a driver's loop does for a segment."""

    workers: int
    seconds: float
    objects: float
    syncs: float


class PutInto:
    """A store on a disk that workers put blobs into, whose cost is counted apart; the driver removes them."""

    def __init__(self, store: DiskStore) -> None:
        self.cost, self._put = Cost(), store.put
        self.get, self.discard, self.set_aside = store.get, store.discard, store.set_aside

    def put(self, blob: bytes) -> str:
        """Put a blob, as a worker does."""
        with self.cost.measure():
            return self._put(blob)


def whole_search(done: Trained, store: DiskStore, workers: int) -> Loop:
    """Run the real loop, for as many trials as the example has, over made-up segments that are there at once."""
    name, cost, blobs = f"together-{workers}", Cost(), PutInto(store)
    search = done.search.model_copy(update={"workers": workers, "halving": HalvingConfig(enabled=False)})
    courses = dict.fromkeys(range(search.trials), Course(tuple(result.score for result in done.results)))
    executor = ScriptedExecutor(blobs, courses, tuple(f"worker-{n}" for n in range(workers)), all_at_once)
    with Ledger.open(store, name) as ledger:
        ledger.append(done.study(name))
        loop = Search(
            config=search, ledger=ledger, executor=executor, asker=sampler(search), blobs=blobs,
            should_stop=lambda: False, tick=lambda _: [],
        )  # fmt: skip
        with cost.measure():
            loop.run()
    objects = len(store.names(f"studies/{name}/journal")) - 1  # the study's record came before
    each, seconds = len(executor.trained), cost.seconds[0] - sum(blobs.cost.seconds)
    return Loop(workers, seconds / each, objects / each, (cost.syncs - blobs.cost.syncs) / each)


def all_at_once(workers: list[str]) -> list[tuple[str, str]]:
    """Every worker that was asked answers with a segment."""
    return [(worker, "segment") for worker in workers]


def sampler(search: SearchConfig) -> Sampler:
    """Return the search's own."""
    first = config.first_params(search)
    return Sampler(config.search_space(search), seed=search.seed, n_startup_trials=search.n_startup_trials, first=first)


# -- what is told ------------------------------------------------------------------------------------------------------


def share(driver: float, search: SearchConfig, results: Sequence[records.SegmentResult], recorded: Book | None) -> str:
    """Return the share of a search's seconds that its driver's loop takes, and from which figures it comes.

    Args:
        driver: the loop's seconds for a segment.
        search: the example.
        results: segments of a trial that was trained alone.
        recorded: a study; None takes that trial, as if all workers trained all the time as it was trained.
    """
    if recorded is None or recorded.study is None:
        segment = statistics.median(result.seconds for result in results)
        part = driver * search.workers / segment
        return f"{part:.2%}, where a segment takes {segment:.2f} s on each of {search.workers} workers"
    trials = recorded.trials.values()
    segments, seconds = sum(len(trial.segments) for trial in trials), busy(trials)
    name = recorded.study.study
    return f"{driver * segments / seconds:.2%} of study {name}: {segments} segments in {seconds:.0f} s"


def busy(trials: Iterable[Trial]) -> float:
    """Return the seconds in which some trial was under way: pauses between two drivers do not count."""
    total, reached = 0.0, float("-inf")
    for begin, end in sorted(span for trial in trials for span in spans(trial)):
        total += max(0.0, end - max(begin, reached))
        reached = max(reached, end)
    return total


def spans(trial: Trial) -> Iterator[tuple[float, float]]:
    """Yield when each attempt of a trial began, and when it was last heard of."""
    heard = [(record.attempt, record.at) for record in (*trial.segments, *trial.losses)]
    if trial.decision is not None:
        heard.append((len(trial.attempts) - 1, trial.decision.at))
    for begun in trial.attempts:
        yield begun.at, max((at for attempt, at in heard if attempt == begun.attempt), default=begun.at)


def page(parts: Mapping[str, Cost], loops: Sequence[Loop], shares: str) -> str:
    """Return the page."""
    head = "# What a segment costs beside its training\n\nGenerated by `python -m benchmarks.commit --write`."
    table = ["| | times | median, ms | range, ms | syncs | bytes synced |", "|---|---|---|---|---|---|"]
    table += [cost.row(name) for name, cost in parts.items()]
    group = [
        "| workers that answer together | ms a segment | objects a segment | syncs a segment |",
        "|---|---|---|---|",
    ]
    group += [f"| {n} | {1000 * seconds:.2f} | {objects:.2f} | {syncs:.2f} |" for n, seconds, objects, syncs in loops]
    says = "SQLite's own syncs are not counted. The loop for a search's worth of trials: ask, journal, decisions, "
    says += "removing blobs (small ones). Left out are Ray's calls, the view, and the threads that show in MLflow:"
    told = f"Of a digits search that loop takes {shares}."
    return "\n".join([head, "", about_here(), "", *table, "", says, "", *group, "", told, ""])


def main() -> None:
    """Measure, and print the page."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.commit", description="What a segment costs.")
    parser.add_argument("--store", help="of a recorded study of digits")
    parser.add_argument("--study", help="its name, where there are several")
    parser.add_argument("--steps", type=int, help="train fewer than the example does")
    parser.add_argument("--write", action="store_true", help=f"write {TARGET.name} too")
    chosen = parser.parse_args()
    recorded = open_study(Place(store=chosen.store, study=chosen.study)).book if chosen.store else None
    with tempfile.TemporaryDirectory() as folder:
        store, other, third = (DiskStore(Path(folder) / name) for name in ("store", "other", "third"))
        for each in (store, other, third):
            each.prepare()
        done = trained(store, chosen.steps)
        parts = {"blobs: a worker puts them (history, samples, checkpoint, generator)": blobs_put(done, store, other)}
        parts |= journal_and_decisions(done, other)
        parts |= projection(done, store)
        loops = [whole_search(done, third, workers) for workers in sorted({1, 2, 8, done.search.workers})]
    own = next(loop for loop in loops if loop.workers == done.search.workers)
    text = page(parts, loops, share(own.seconds, done.search, done.results, recorded))
    print(text)
    if chosen.write:
        TARGET.write_text(text)


if __name__ == "__main__":
    main()
