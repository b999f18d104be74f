"""Runs, artifacts, registry, sync, ui: a study in MLflow; with its two halves the only file that imports mlflow."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pipeline.mlflow_registry import MlflowModels  # before mlflow, whose environment it sets  # isort: skip

from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

from pipeline.artifacts import EXTRACTOR, NEEDED, RunBundle, read_bundle
from pipeline.book import Book, Trial
from pipeline.mirror import Mirror
from pipeline.mlflow_runs import Connection, MlflowRuns, ask, connect, out_of_reach, reached
from pipeline.projection import ModelVersion, Outcome
from pipeline.projector import Shown
from pipeline.records import RunRecord
from pipeline.safe_text import redact
from pipeline.shelf import Shelf
from pipeline.store import DiskStore, Store
from trainers.errors import ConfigError, IntegrityError, StateConflict, UserError


class MlflowTracker:
    """A study in MLflow; what is there is found by its tags, so showing it again changes nothing."""

    def __init__(
        self, tracking_uri: str | None, store: Store, study: str, check: Callable[[], None] = lambda: None
    ) -> None:
        """Prepare to show a study; nothing is contacted before the first call.

        Args:
            tracking_uri: None is the store's own SQLite file.
            store: that holds the study's blobs.
            study: its name, which is the experiment's too.
            check: see `Mirror`.

        Raises:
            ConfigError: no URI is given, and the store has no directory to hold a file.
        """
        folder = store.path if isinstance(store, DiskStore) else None
        if tracking_uri is None and folder is None:
            raise ConfigError(
                f"tracking_uri must be given where the store is no directory, but got store={store.uri!r}"
            )
        self.tracking_uri = tracking_uri if tracking_uri is not None else f"sqlite:///{folder}/mlflow.db"
        self.mlflow = Connection(self.tracking_uri, study, None if folder is None else folder / "mlartifacts")
        self._mirror = Mirror(MlflowRuns(self.mlflow), store, check)
        self._shelf = Shelf(MlflowModels(self.mlflow), store)

    def check(self) -> None:
        """Ask MLflow for something, with little patience.

        Raises:
            Unreachable: it does not answer, or refuses (401, 403); the message names the URI and the mend, and
                `for_good` says whether waiting is of no use.
        """
        ask(self.tracking_uri, impatient=True)
        self.mlflow.file.see()

    def show(self, book: Book, trial: int | None, began: float) -> Shown:
        """See `pipeline.projector.Tracker.show`."""
        with self._retryable():
            run, broken = self._mirror.show(book, trial, began)
        record = RunRecord(at=began, trial=trial, run_id=run.run_id, tracking_uri=redact(self.tracking_uri))
        return Shown(record, next(iter(broken), None))

    def finish(self, book: Book, outcome: Outcome) -> IntegrityError | None:
        """See `pipeline.projector.Tracker.finish`; the generators that are kept for good become models."""
        with self._retryable():
            broken = self._mirror.finish(book, outcome)
            broken += self._shelf.show(book, lambda trial: self._run_of(book, trial))
        return next(iter(broken), None)

    # -- the registry, for `pipeline.registry.Registrar`: each method raises Unreachable where MLflow is gone ----------

    def version_by_alias(self, name: str, alias: str) -> ModelVersion | None:
        """Return the version of a registered model that an alias names, or None."""
        with reached(self.tracking_uri):
            return self._shelf.by_alias(name, alias)

    def log_generator(self, book: Book, trial: Trial) -> str:
        """Return the id of the MLflow model of a trial's best EMA generator; it is logged unless it is there.

        Raises:
            StateConflict: MLflow does not know the trial yet.
        """
        with reached(self.tracking_uri):
            run_id = self._run_of(book, trial)
            if run_id is None:
                raise StateConflict(f"MLflow does not know trial {trial.number} yet: run `gansearch sync` first")
            return self._shelf.model(book, trial, run_id)

    def drop_generator(self, book: Book, trial: Trial) -> None:
        """Remove the model of a trial that no gate let in, unless it is shown for another reason."""
        with reached(self.tracking_uri):
            self._shelf.drop(book, trial)

    def create_version(
        self, book: Book, trial: Trial, model_id: str, name: str, gates: Sequence[Mapping[str, Any]]
    ) -> int:
        """Return the version of a registered model that holds a logged one; it is made where it is missing."""
        with reached(self.tracking_uri):
            return self._shelf.version(book, trial, model_id, name, gates)

    def set_alias(self, name: str, alias: str, version: int) -> None:
        """Let an alias name a version."""
        with reached(self.tracking_uri):
            self._shelf.set_alias(name, alias, version)

    def show_registrations(self, book: Book) -> IntegrityError | None:
        """Show the generators that the book says are registered, as `finish` does, and leave the runs' states."""
        with reached(self.tracking_uri), self._retryable():
            broken: list[IntegrityError] = []
            self._mirror.show_generators(book, broken)
            broken += self._shelf.show(book, lambda trial: self._run_of(book, trial))
        return next(iter(broken), None)

    def _run_of(self, book: Book, trial: Trial) -> str | None:
        run = self._mirror.find(book, trial)
        return None if run is None else run.run_id

    @contextmanager
    def _retryable(self) -> Iterator[None]:
        self.mlflow.file.see()
        try:
            yield
            self.mlflow.file.see()
        except BaseException:
            self._mirror.forget()
            self.mlflow.forget()
            raise


def read_run(tracking_uri: str, run_id: str) -> RunBundle:
    """Return a trial from its run's artifacts alone.

    Raises:
        UserError: there is no such run, or it is not a trial of this software that has ended.
        Unreachable: MLflow does not answer.
    """
    ask(tracking_uri)
    with reached(tracking_uri):
        try:
            files = _downloaded(connect(tracking_uri), run_id)
        except MlflowException as error:
            if out_of_reach(error):
                raise
            told = f"run {run_id} cannot be read from {redact(tracking_uri)}: {redact(error.message)}"
            raise UserError(told) from error
    return read_bundle(run_id, files)


def _downloaded(client: MlflowClient, run_id: str) -> dict[str, bytes]:
    listed = {file.path for file in client.list_artifacts(run_id)}
    with tempfile.TemporaryDirectory() as folder:
        wanted = sorted(listed & {*NEEDED, EXTRACTOR})
        return {path: Path(client.download_artifacts(run_id, path, folder)).read_bytes() for path in wanted}
