"""A study in a real MLflow on SQLite, and all that MLflow holds of it as one value."""

from __future__ import annotations

import hashlib
import itertools
import shutil
from pathlib import Path
from typing import Any

import mlflow
import pytest

from pipeline.book import Book
from pipeline.mlflow_store import MlflowTracker
from pipeline.records import Record, TrialState
from pipeline.store import DiskStore, open_store
from tests.fakes import shown

MARKS = [
    # What MLflow and torch.export do inside themselves is not ours to mend.
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore:.*Any type hint:UserWarning"),
]
_empty: list[Path] = []


@pytest.fixture(name="store")
def mlflow_store(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> DiskStore:
    """A store with an MLflow database without a study; making one takes seconds, so it is made once and copied."""
    if not _empty:
        first = open_store(tmp_path_factory.mktemp("empty"))
        MlflowTracker(None, first, "digits").check()
        _empty.append(first.path / "mlflow.db")
    opened = open_store(tmp_path / "a store")
    shutil.copy(_empty[0], opened.path)
    return opened


def records_of(store: DiskStore, *states: TrialState | None, **more: Any) -> list[Record]:
    trials = [shown.trial(store, number, state, score=5.0 + number) for number, state in enumerate(states)]
    return [shown.study(store, **more), *itertools.chain.from_iterable(trials)]


def show_all(tracker: MlflowTracker, book: Book, outcome: str | None = None) -> None:
    tracker.show(book, None, 1000.0)
    for number in book.trials:
        tracker.show(book, number, 1001.0 + number)
    if outcome is not None:
        tracker.finish(book, outcome)


def runs_of(tracker: MlflowTracker) -> dict[str, Any]:
    """MLflow's active runs by their trial's number, and the study's as "study"."""
    found = tracker.mlflow.client.search_runs([tracker.mlflow.experiment], max_results=1000)
    keyed = {run.data.tags.get("gansearch.number", "study"): run for run in found}
    assert len(keyed) == len(found), "two runs of one trial"
    return keyed


def files_of(tracker: MlflowTracker, run_id: str) -> dict[str, str]:
    root = Path(tracker.mlflow.client.download_artifacts(run_id, ""))
    found = (path for path in root.rglob("*") if path.is_file())
    return {str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest() for path in found}


def dump(tracker: MlflowTracker) -> dict[str, Any]:
    """Everything that MLflow holds of a study, but for ids of its own making."""
    result: dict[str, Any] = {}
    for key, run in runs_of(tracker).items():
        rows = {
            name: [
                (m.step, m.timestamp, m.value) for m in tracker.mlflow.client.get_metric_history(run.info.run_id, name)
            ]
            for name in run.data.metrics
        }
        tags = {tag: value for tag, value in run.data.tags.items() if tag != "mlflow.parentRunId"}
        inputs = [(i.dataset.name, i.dataset.digest) for i in run.inputs.dataset_inputs]
        info = (run.info.run_name, run.info.status, run.info.start_time, run.info.end_time)
        result[key] = (info, run.data.params, tags, rows, inputs, files_of(tracker, run.info.run_id))
    return result


def shelf_of(tracker: MlflowTracker) -> dict[str, Any]:
    """All models, versions and aliases that MLflow holds, but for ids of its own making; a file as name and size.

    Whoever loads a registered model by its alias has MLflow write `registered_model_meta` beside it.
    """
    client, runs = tracker.mlflow.client, {run.info.run_id: key for key, run in runs_of(tracker).items()}
    models, names = {}, {}
    for model in models_of(tracker):
        root = Path(mlflow.artifacts.download_artifacts(model.artifact_location))
        found = [path for path in root.rglob("*") if path.is_file() and path.name != "registered_model_meta"]
        files = {str(path.relative_to(root)): path.stat().st_size for path in found}
        models[model.model_id] = (runs[model.source_run_id], model.name, model.status, model.tags, sorted(files))
    for name in client.search_registered_models():
        versions = client.search_model_versions(f"name = '{name.name}'")
        of = {v.version: models[v.source.removeprefix("models:/")] for v in versions}
        held = [(int(v.version), runs[v.run_id], v.tags, v.description, of[v.version]) for v in versions]
        names[name.name] = (name.description, dict(name.aliases), sorted(held, key=lambda row: row[0]))
    return {"models": sorted(models.values()), "registered": names}


def models_of(tracker: MlflowTracker) -> list[Any]:
    return list(tracker.mlflow.client.search_logged_models([tracker.mlflow.experiment]))
