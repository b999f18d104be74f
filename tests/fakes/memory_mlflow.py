"""Runs, models and a registry in memory, whose n-th write never happens, or happens and loses its answer."""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import wraps
from typing import Any, TypeVar

from pipeline.book import Book, Trial
from pipeline.mirror import Mirror, Run
from pipeline.projection import STUDY_UID, TRIAL_KEY, ModelVersion, Outcome, milliseconds
from pipeline.projector import Shown
from pipeline.records import RunRecord
from pipeline.shelf import Shelf
from pipeline.store import Store
from trainers.errors import IntegrityError

F = TypeVar("F", bound=Callable[..., Any])


def write(method: F) -> F:
    @wraps(method)
    def counted(self: MemoryMlflow, *args: Any, **kwargs: Any) -> Any:
        self.writes += 1
        self._before_write()
        dies = self.writes == self.dies_at
        if dies and not self.after:
            raise ConnectionResetError("before")
        result = method(self, *args, **kwargs)
        if dies:
            raise ConnectionResetError("after")
        return result

    return counted  # type: ignore[return-value]


@dataclass
class MemoryMlflow:
    dies_at: int = 0
    after: bool = False
    writes: int = 0
    runs: dict[str, dict[str, Any]] = field(default_factory=dict)
    models: dict[str, dict[str, Any]] = field(default_factory=dict)
    registered: dict[str, dict[str, Any]] = field(default_factory=dict)

    def _before_write(self) -> None:
        """Let a test hold the write up."""

    # -- pipeline.mirror.Runs ------------------------------------------------------------------------------------------

    def find_runs(self, uid: str) -> list[Run]:
        return [
            Run(run_id, run["status"], dict(run["tags"]), run["ended"])
            for run_id, run in self.runs.items()
            if run["tags"].get(STUDY_UID) == uid
        ]

    @write
    def create(self, name: str, began: float, tags: dict[str, str]) -> Run:
        run_id = f"run-{self.writes}"
        made = {"name": name, "began": milliseconds(began), "status": "RUNNING", "ended": None, "tags": dict(tags)}
        self.runs[run_id] = made | {"params": {}, "metrics": {}, "data": {}, "files": {}}
        return Run(run_id, "RUNNING", dict(tags), images={})

    @write
    def delete_run(self, run_id: str) -> None:
        del self.runs[run_id]

    @write
    def log(self, run_id: str, *, tags: Any, params: Any, metrics: Any, step: int, at: float) -> None:
        run = self.runs[run_id]
        run["tags"] |= tags
        run["params"] = dict(params) | run["params"]
        run["metrics"] |= {(key, step, milliseconds(at)): value for key, value in metrics.items()}

    @write
    def log_data(self, run_id: str, data: dict[str, str]) -> None:
        self.runs[run_id]["data"] |= data

    @write
    def upload(self, run_id: str, files: Mapping[str, bytes]) -> None:
        self.runs[run_id]["files"] |= files

    def sizes(self, run_id: str, folder: str) -> dict[str, int]:
        files = self.runs[run_id]["files"]
        return {path: len(data) for path, data in files.items() if path.startswith(f"{folder}/")}

    @write
    def set_status(self, run_id: str, status: str, at: float) -> None:
        ended = {} if status == "RUNNING" else {"ended": milliseconds(at)}
        self.runs[run_id] |= {"status": status, **ended}

    # -- pipeline.shelf.Models -----------------------------------------------------------------------------------------

    def find_models(self, tags: Mapping[str, str]) -> list[tuple[str, bool]]:
        return [(i, m["whole"]) for i, m in self.models.items() if tags.items() <= m["tags"].items()]

    @write
    def delete_model(self, model_id: str) -> None:
        del self.models[model_id]

    def log_model(self, run_id: str, tags: dict[str, str], config: Any, shape: Any, weights: bytes) -> str:
        model_id = self._begin_model(run_id, tags)
        self._fill_model(model_id, weights)
        return model_id

    @write
    def _begin_model(self, run_id: str, tags: dict[str, str]) -> str:
        model_id = f"model-{self.writes}"
        self.models[model_id] = {"run": run_id, "tags": tags, "whole": False}
        return model_id

    @write
    def _fill_model(self, model_id: str, weights: bytes) -> None:
        self.models[model_id] |= {"whole": True, "weights": hashlib.sha256(weights).hexdigest()}

    def versions(self, name: str) -> list[ModelVersion]:
        held = self.registered.get(name, {"versions": []})["versions"]
        return [ModelVersion(version=number, tags=tags) for number, (tags, _, _) in enumerate(held, start=1)]

    def create_version(self, name: str, model_id: str, tags: dict[str, str], note: str) -> int:
        if name not in self.registered:
            self._create_name(name)
        return self._create_version(name, model_id, tags, note)

    @write
    def _create_name(self, name: str) -> None:
        self.registered[name] = {"versions": [], "aliases": {}}

    @write
    def _create_version(self, name: str, model_id: str, tags: dict[str, str], note: str) -> int:
        self.registered[name]["versions"].append((tags, note, model_id))
        return len(self.registered[name]["versions"])

    def aliases(self, name: str) -> dict[str, int]:
        return dict(self.registered.get(name, {"aliases": {}})["aliases"])

    @write
    def set_alias(self, name: str, alias: str, version: int) -> None:
        self.registered[name]["aliases"][alias] = version

    # -- all of it -----------------------------------------------------------------------------------------------------

    def snapshot(self) -> Any:
        """Everything but the ids of its own making, which become trial keys."""
        keys = {run_id: run["tags"].get(TRIAL_KEY, "study") for run_id, run in self.runs.items()}
        assert len(set(keys.values())) == len(keys), "two runs of one trial"
        models = {i: {**model, "run": keys[model["run"]]} for i, model in self.models.items()}
        runs = {keys[run_id]: copy.deepcopy(run) for run_id, run in self.runs.items()}
        for run in runs.values():
            if parent := run["tags"].pop("mlflow.parentRunId", None):
                assert keys[parent] == "study"
        names = {
            name: (held["aliases"], [(tags, note, models[model_id]) for tags, note, model_id in held["versions"]])
            for name, held in self.registered.items()
        }
        return runs, sorted(models.values(), key=lambda model: model["run"]), names


class _Runs:
    def __init__(self, mlflow: MemoryMlflow) -> None:
        self.find, self.create, self.delete = mlflow.find_runs, mlflow.create, mlflow.delete_run
        self.log, self.log_data, self.upload = mlflow.log, mlflow.log_data, mlflow.upload
        self.sizes, self.set_status = mlflow.sizes, mlflow.set_status


class _Models:
    def __init__(self, mlflow: MemoryMlflow) -> None:
        self.find, self.delete, self.log = mlflow.find_models, mlflow.delete_model, mlflow.log_model
        self.versions, self.create_version = mlflow.versions, mlflow.create_version
        self.aliases, self.set_alias = mlflow.aliases, mlflow.set_alias


class MemoryMlflowTracker:
    """What `pipeline.mlflow_store.MlflowTracker` does, with our own mirror and shelf, on a MemoryMlflow."""

    tracking_uri = "memory://"

    def __init__(self, mlflow: MemoryMlflow, store: Store, check: Callable[[], None] = lambda: None) -> None:
        self._mirror = Mirror(_Runs(mlflow), store, check)
        self._shelf = Shelf(_Models(mlflow), store)

    def show(self, book: Book, trial: int | None, began: float) -> Shown:
        try:
            run, broken = self._mirror.show(book, trial, began)
        except ConnectionResetError:
            self._mirror.forget()
            raise
        record = RunRecord(at=began, trial=trial, run_id=run.run_id, tracking_uri=self.tracking_uri)
        return Shown(record, next(iter(broken), None))

    def finish(self, book: Book, outcome: Outcome) -> IntegrityError | None:
        def run_of(trial: Trial) -> str | None:
            run = self._mirror.find(book, trial)
            return None if run is None else run.run_id

        try:
            broken = self._mirror.finish(book, outcome) + self._shelf.show(book, run_of)
        except ConnectionResetError:
            self._mirror.forget()
            raise
        return next(iter(broken), None)
