"""Runs, artifacts, registry, sync, ui; the only file that imports mlflow."""

from __future__ import annotations

import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from typing import Any

from pipeline.mlflow_process import environment, mend  # before mlflow, which reads the environment  # isort: skip

import mlflow
import numpy as np
from mlflow.entities import Dataset, DatasetInput, LoggedModelStatus, Metric, Param, RunTag
from mlflow.exceptions import MlflowException
from sqlalchemy.exc import SQLAlchemyError

from pipeline.artifacts import EXTRACTOR, NEEDED, RunBundle, read_bundle
from pipeline.book import Book, Trial
from pipeline.keys import redact
from pipeline.mirror import Mirror, Numbers, Run, Texts
from pipeline.projection import (
    GENERATOR,
    STUDY_UID,
    TRIAL_KEY,
    ModelVersion,
    Outcome,
    milliseconds,
    trial_generator,
)
from pipeline.records import RunRecord
from pipeline.store import DiskStore, Store
from trainers.config import TrainConfig
from trainers.errors import ConfigError, StateConflict, Unreachable, UserError

MOST_RUNS = 50_000  # that MLflow gives at once
MODELS = 3  # completed trials whose generator becomes a model when the study ends
_PROCESS = threading.RLock()  # MLflow logs and loads models by a tracking URI that the whole process shares


class Tracker:
    """A study in MLflow; what is there is found by its tags, so showing it again changes nothing."""

    def __init__(self, tracking_uri: str | None, store: Store, study: str) -> None:
        """Prepare to show a study; nothing is contacted before the first call.

        Args:
            tracking_uri: None is the store's own SQLite file.
            store: that holds the study's blobs.
            study: its name, which is the experiment's too.

        Raises:
            ConfigError: no URI is given, and the store has no directory to hold a file.
        """
        self._folder = store.path if isinstance(store, DiskStore) else None
        if tracking_uri is None and self._folder is None:
            raise ConfigError(
                f"tracking_uri must be given where the store is no directory, but got store={store.uri!r}"
            )
        self.tracking_uri = tracking_uri if tracking_uri is not None else f"sqlite:///{self._folder}/mlflow.db"
        self._store = store
        self._study = study
        self._mirror = Mirror(_MlflowRuns(self), store)

    def check(self) -> None:
        """Ask MLflow for something, with little patience.

        Raises:
            Unreachable: it does not answer, or refuses (401, 403); the message names the URI and the mend.
        """
        with environment(MLFLOW_HTTP_REQUEST_MAX_RETRIES="0", MLFLOW_HTTP_REQUEST_TIMEOUT="5"):
            _ask(self.tracking_uri)

    def show(self, book: Book, trial: int | None, began: float) -> RunRecord:
        """See `pipeline.projector.Tracker.show`."""
        with self._retryable():
            run = self._mirror.show(book, trial, began)
        return RunRecord(at=began, trial=trial, run_id=run.run_id, tracking_uri=redact(self.tracking_uri))

    def finish(self, book: Book, outcome: Outcome, at: float) -> None:
        """See `pipeline.projector.Tracker.finish`; the best generators of a finished study become models."""
        with self._retryable():
            self._mirror.finish(book, outcome, at)
            for trial in book.ranking[:MODELS] if outcome == "finished" else []:
                self.log_generator(book, trial)

    def log_generator(self, book: Book, trial: Trial) -> str:
        """Return the URI of the MLflow model of a trial's best EMA generator; it is logged unless it is there.

        Raises:
            StateConflict: MLflow does not know the trial yet.
        """
        run = self._mirror.find(book, trial)
        if run is None:
            raise StateConflict(f"MLflow does not know trial {trial.number} yet: run the search's own command again")
        weights, shape = trial_generator(book, trial)
        tags = {GENERATOR: weights, TRIAL_KEY: trial.spec.key}
        query = " AND ".join(f"tags.`{key}` = '{value}'" for key, value in tags.items())
        for model in self.client.search_logged_models([self.experiment], query):
            if model.status == LoggedModelStatus.READY:
                return str(model.model_uri)
            self.client.delete_logged_model(model.model_id)  # whoever logged it died before its files were whole
        with _process_uri(self.tracking_uri):
            # By itself MLflow puts the model into its "Default" experiment, whose files lie in the working directory.
            model = mlflow.initialize_logged_model("generator", run.run_id, tags, experiment_id=self.experiment)
            return _log_model(trial.spec.config, shape, self._store.get(weights), run.run_id, model.model_id)

    # -- the registry --------------------------------------------------------------------------------------------------

    def version_by_alias(self, name: str, alias: str) -> ModelVersion | None:
        """Return the version of a registered model that an alias names, or None."""
        models = self.client.search_registered_models(f"name = '{name}'")
        if not models or alias not in models[0].aliases:
            return None
        found = self.client.get_model_version(name, str(models[0].aliases[alias]))
        return ModelVersion(version=int(found.version), tags=dict(found.tags))

    def publish(self, name: str, alias: str, model_uri: str, tags: dict[str, str], description: str) -> int:
        """Let an alias name the version of a registered model that holds a logged model, and return the version.

        The version is made where it is missing; older ones stay.
        """
        client = self.client
        if not client.search_registered_models(f"name = '{name}'"):
            client.create_registered_model(name, description=f"Generators that gansearch found; `{alias}` is the best.")
        made = client.search_model_versions(f"name = '{name}'")
        same = [v for v in made if all(v.tags.get(key) == tags[key] for key in (TRIAL_KEY, GENERATOR))]
        if not same:
            model = client.get_logged_model(model_uri.removeprefix("models:/"))
            run_id, model_id = model.source_run_id, model.model_id
            same = [client.create_model_version(name, model_uri, run_id, tags, None, description, model_id=model_id)]
        client.set_registered_model_alias(name, alias, str(same[0].version))
        return int(same[0].version)

    # -- the connection ------------------------------------------------------------------------------------------------

    @cached_property
    def client(self) -> mlflow.MlflowClient:
        """MLflow's own client; making it opens the SQLite file."""
        return _connect(self.tracking_uri)

    @cached_property
    def experiment(self) -> str:
        """The id of the study's experiment, which is made where it is missing."""
        found = self.client.get_experiment_by_name(self._study)
        if found is None:
            folder = None if self.tracking_uri.startswith("http") else self._folder
            location = None if folder is None else (folder / "mlartifacts").as_uri()  # None: the server says where
            return str(self.client.create_experiment(self._study, artifact_location=location))
        if found.lifecycle_stage != "active":
            self.client.restore_experiment(found.experiment_id)
        return str(found.experiment_id)

    @contextmanager
    def _retryable(self) -> Iterator[None]:
        try:
            yield
        except BaseException:
            self._mirror.forget()
            self.__dict__.pop("experiment", None)
            raise


class _MlflowRuns:
    """`pipeline.mirror.Runs` of MLflow."""

    def __init__(self, tracker: Tracker) -> None:
        self._tracker = tracker

    def find(self, uid: str) -> list[Run]:
        query = f"tags.`{STUDY_UID}` = '{uid}'"
        found = list(self._tracker.client.search_runs([self._tracker.experiment], query, max_results=MOST_RUNS))
        found.sort(key=lambda run: (run.info.start_time, run.info.run_id))
        return [Run(run.info.run_id, run.info.status, dict(run.data.tags)) for run in found]

    def create(self, name: str, began: float, tags: dict[str, str]) -> Run:
        made = self._tracker.client.create_run(self._tracker.experiment, milliseconds(began), tags, name)
        return Run(made.info.run_id, made.info.status, dict(made.data.tags), images={})

    def delete(self, run_id: str) -> None:
        self._tracker.client.delete_run(run_id)

    def log(self, run_id: str, *, tags: Texts, params: Texts, metrics: Numbers, step: int, at: float) -> None:
        client = self._tracker.client
        # MLflow refuses another value for a parameter that a run has: what a later driver changed is in config.json.
        have = client.get_run(run_id).data.params if params else {}
        client.log_batch(
            run_id,
            metrics=[Metric(key, value, milliseconds(at), step) for key, value in metrics.items()],
            params=[Param(key, value) for key, value in params.items() if key not in have],
            tags=[RunTag(key, value) for key, value in tags.items()],
            synchronous=True,
        )

    def log_data(self, run_id: str, data: dict[str, str]) -> None:
        self._tracker.client.log_inputs(run_id, datasets=[DatasetInput(Dataset(**data))])

    def upload(self, run_id: str, files: Mapping[str, bytes]) -> None:
        with tempfile.TemporaryDirectory() as folder:
            for path, data in files.items():
                target = Path(folder, path)
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(data)
            self._tracker.client.log_artifacts(run_id, folder)

    def sizes(self, run_id: str, folder: str) -> dict[str, int]:
        return {file.path: file.file_size for file in self._tracker.client.list_artifacts(run_id, folder)}

    def set_status(self, run_id: str, status: str, at: float) -> None:
        if status == "RUNNING":
            self._tracker.client.update_run(run_id, status)
        else:
            self._tracker.client.set_terminated(run_id, status, milliseconds(at))


def read_run(tracking_uri: str, run_id: str) -> RunBundle:
    """Return a trial from its run's artifacts alone.

    Raises:
        UserError: there is no such run, or it is not a trial of this software that has ended.
        Unreachable: MLflow does not answer.
    """
    _ask(tracking_uri)
    client = _connect(tracking_uri)
    try:
        listed = {file.path for file in client.list_artifacts(run_id)}
        with tempfile.TemporaryDirectory() as folder:
            wanted = sorted(listed & {*NEEDED, EXTRACTOR})
            files = {path: Path(client.download_artifacts(run_id, path, folder)).read_bytes() for path in wanted}
    except MlflowException as error:
        raise UserError(f"run {run_id} cannot be read from {redact(tracking_uri)}: {error.message}") from error
    return read_bundle(run_id, files)


def load_pyfunc(tracking_uri: str, model_uri: str) -> tuple[Callable[[Any], Any], dict[str, Any]]:
    """Return a model's function from latents [n, size] to samples [n, *shape], and what was noted of it.

    Raises:
        UserError: there is no such model.
        Unreachable: MLflow does not answer.
    """
    _ask(tracking_uri)
    try:
        with _process_uri(tracking_uri):
            model = mlflow.pyfunc.load_model(model_uri)
    except MlflowException as error:
        raise UserError(f"model {model_uri} cannot be loaded from {redact(tracking_uri)}: {error.message}") from error
    return model.predict, dict(model.metadata.metadata or {})


def _connect(tracking_uri: str) -> mlflow.MlflowClient:
    return mlflow.MlflowClient(tracking_uri=tracking_uri, registry_uri=tracking_uri)


def _ask(tracking_uri: str) -> None:
    """Raise Unreachable unless MLflow answers a question of its API."""
    try:
        _connect(tracking_uri).search_experiments(max_results=1)
    except (MlflowException, OSError, SQLAlchemyError) as error:
        status = error.get_http_status_code() if isinstance(error, MlflowException) else 0
        raise Unreachable(
            f"MLflow at {redact(tracking_uri)} cannot be used: {mend(tracking_uri, error, status)}"
        ) from error


def _log_model(config: TrainConfig, shape: tuple[int, ...], weights: bytes, run_id: str, model_id: str) -> str:
    """Fill a model with a generator as a traced graph, which loads without this project's code; return its URI."""
    from mlflow.models import ModelSignature
    from mlflow.types import Schema, TensorSpec

    from trainers.generate import latents, load_generator

    single, latent = np.dtype(np.float32), config.latent
    signature = ModelSignature(
        inputs=Schema([TensorSpec(single, (-1, latent.size))]), outputs=Schema([TensorSpec(single, (-1, *shape))])
    )
    info = mlflow.pytorch.log_model(
        load_generator(config, shape, weights),
        input_example=latents(config, 2, seed=0),  # two: a batch of one would be traced as a constant
        signature=signature,
        pip_requirements=[f"{name}=={version(name).partition('+')[0]}" for name in ("torch", "numpy")],
        metadata={"prior": latent.prior, "latent": latent.size, "shape": list(shape)},
        run_id=run_id,
        model_id=model_id,
    )
    return str(info.model_uri)


@contextmanager
def _process_uri(tracking_uri: str) -> Iterator[None]:
    """Hold the tracking URI that the whole process shares."""
    with _PROCESS:
        mlflow.set_tracking_uri(tracking_uri)
        mlflow.set_registry_uri(tracking_uri)
        yield
