"""A folder with a small search, and what is true of it when it has ended whole."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import mlflow

from pipeline import rerun
from pipeline.book import Book
from pipeline.ledger import read_book, read_records
from pipeline.records import DecisionRecord, SegmentRecord, TrialState
from pipeline.store import Store, open_store
from tests.command_line import Done, begin, gansearch
from trainers.errors import Unreachable

SEARCH = """
study: ring
data: ring8
space: gan
trials: 1
workers: 2
seed: 5
network: {name: mlp, width: 16, depth: 2}
latent: {size: 2}
batch_size: 32
steps: 300
segment_steps: 30
evaluation: {samples: 100, grid: 16}
halving: {enabled: false}
"""
STEPS, SEGMENTS = 300, 10  # of each trial: no detector stops these


class Place:
    """A folder with a search file and a store.

    Args:
        folder: is there.
        store: as `--store` takes it.
        options: more of the command line, the same each time.
        env: more of the environment.
    """

    def __init__(self, folder: Path, store: str = "store", options: tuple[str, ...] = (), **env: str) -> None:
        self.folder, self.uri, self.options, self.env = folder, store, options, env
        self._args = ("search", "ring.yaml", "--store", store, "--format", "json", *options)
        (folder / "ring.yaml").write_text(SEARCH)

    @property
    def store(self) -> Store:
        return open_store(self.uri if "://" in self.uri else self.folder / self.uri, create=False)

    @property
    def book(self) -> Book:
        return read_book(self.store, "ring")

    def command(self, *args: str) -> tuple[str, ...]:
        return (*self._args, *args)

    def search(self, *args: str) -> Done:
        return gansearch(*self._args, *args, cwd=self.folder, **self.env)

    def begin(self, *args: str, fault: dict[str, Any] | None = None) -> subprocess.Popen[str]:
        """Begin a search that somebody will stop, or to which something happens (see tests/faults/drive.py)."""
        return begin(*self._args, *args, cwd=self.folder, fault=fault, **self.env)

    def segments(self) -> int:
        """How many segments the journal holds now."""
        try:
            return sum(len(trial.segments) for trial in self.book.trials.values())
        except Unreachable:
            return 0  # the driver has not made it yet

    def statuses(self) -> list[str]:
        """The status of every run in MLflow."""
        client = mlflow.MlflowClient(tracking_uri=f"sqlite:///{self.folder}/store/mlflow.db")
        experiment = client.get_experiment_by_name("ring")
        return [run.info.status for run in client.search_runs([experiment.experiment_id])]

    def talk(self) -> str:
        return (self.folder / "stderr.txt").read_text()


def assert_whole(place: Place, trials: int) -> None:
    """Every trial has one final decision, and all of its steps, each once."""
    records = read_records(place.store, "ring")
    decisions = [r for r in records if isinstance(r, DecisionRecord) and r.state.final]
    assert sorted(decision.trial for decision in decisions) == list(range(trials))
    committed = [(r.trial, r.result.stop) for r in records if isinstance(r, SegmentRecord)]
    assert len(committed) == len(set(committed))
    for trial in place.book.trials.values():
        assert trial.state is TrialState.COMPLETED
        ends = [segment.result.stop for segment in trial.segments]
        assert ends == list(range(30, STEPS + 1, 30))
        assert [segment.result.start for segment in trial.segments] == [0, *ends[:-1]]
    if "://" not in place.uri:
        assert place.statuses() == ["FINISHED"] * (trials + 1)


def lost(before: Book, after: Book) -> int:
    """How many committed segments of an earlier journal a later one does not have, as they were and where they were."""
    return sum(
        after.trials[number].segments[segment.index : segment.index + 1] != [segment]
        for number, trial in before.trials.items()
        for segment in trial.segments
    )


def trained_again(before: Book, after: Book) -> int:
    """How many committed steps were trained again, by the next attempts of the trials that had not ended."""
    unfinished = [trial for trial in before.trials.values() if not trial.state.final]
    return sum(trial.steps - after.trials[trial.number].attempts[len(trial.attempts)].step for trial in unfinished)


def outcome(book: Book) -> dict[int, Any]:
    """All that a search decides, and the digests of all that it computes."""
    return {
        trial.number: {
            "params": trial.spec.params,
            "config": trial.spec.config,
            "origin": trial.spec.origin,
            "begins": trial.begins,
            "state": trial.state,
            "score": trial.score,
            "best": trial.decision and trial.decision.best_index,
            "event": trial.event,
            "segments": [
                (s.result.start, s.result.stop, s.result.scores, s.result.history, s.result.samples)
                for s in trial.segments  # weights carry the study's name, so their blobs have digests of their own
            ],
        }
        for trial in book.trials.values()
    }


def retrained(place: Place, number: int) -> Any:
    """What an uninterrupted training of the same trial has in common with the recorded one."""
    bundle = rerun.from_store(place.book, place.store, number)
    return rerun.verify(bundle, bundle.spec.config, lambda _: None).document()
