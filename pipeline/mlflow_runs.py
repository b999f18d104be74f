"""MLflow's runs, and the connection to them; one of the files that import mlflow."""

from __future__ import annotations

import fcntl
import logging
import os
import tempfile
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import cached_property
from pathlib import Path

from pipeline.mlflow_process import environment, mend  # before mlflow, which reads the environment  # isort: skip

import mlflow
from mlflow.entities import Dataset, DatasetInput, Metric, Param, RunTag
from mlflow.exceptions import InvalidUrlException, MlflowException, RestException
from sqlalchemy.exc import ArgumentError, SQLAlchemyError

from pipeline.database_file import DatabaseFile, database_file
from pipeline.mirror import Numbers, Run, Texts
from pipeline.projection import STUDY_UID, milliseconds
from pipeline.safe_text import redact
from trainers.errors import Unreachable

MOST_RUNS = 50_000  # that MLflow gives at once
# What fails in its database is raised, and told in one line by whoever asked; its log would have 80 more.
logging.getLogger("mlflow.store.db.utils").setLevel(logging.CRITICAL)
_PROCESS = threading.RLock()  # MLflow logs and loads models by a tracking URI that the whole process shares


class Connection:
    """A study's experiment in MLflow, and the client that speaks to it; nothing is contacted before the first use."""

    def __init__(self, tracking_uri: str, study: str, artifacts: Path | None) -> None:
        """Prepare to connect.

        Args:
            tracking_uri: where MLflow is.
            study: whose name is the experiment's too.
            artifacts: folder for the files of a database without a server; None leaves them where MLflow says.
        """
        self.tracking_uri = tracking_uri
        self._study = study
        self._artifacts = artifacts
        self.file = DatabaseFile("MLflow's", "tracking_uri", tracking_uri)

    @cached_property
    def client(self) -> mlflow.MlflowClient:
        """MLflow's own client; making it opens the SQLite file."""
        return connect(self.tracking_uri)

    @cached_property
    def experiment(self) -> str:
        """The id of the study's experiment, which is made where it is missing."""
        found = self.client.get_experiment_by_name(self._study)
        if found is None:
            folder = None if self.tracking_uri.startswith("http") else self._artifacts
            location = None if folder is None else folder.as_uri()  # None: the server says where
            return str(self.client.create_experiment(self._study, artifact_location=location))
        if found.lifecycle_stage != "active":
            self.client.restore_experiment(found.experiment_id)
        return str(found.experiment_id)

    def forget(self) -> None:
        """Look the experiment up again: a call failed, and it may be gone."""
        self.__dict__.pop("experiment", None)


def connect(tracking_uri: str) -> mlflow.MlflowClient:
    """Return a client of MLflow's runs and registry."""
    return mlflow.MlflowClient(tracking_uri=tracking_uri, registry_uri=tracking_uri)


def ask(tracking_uri: str, *, impatient: bool = False) -> None:
    """Raise Unreachable unless MLflow answers a question of its API.

    Args:
        tracking_uri: where MLflow is.
        impatient: wait for 5 seconds at most, and try once.

    Raises:
        ConfigError: it is no URL, or that of a database in memory.
    """
    file = database_file("tracking_uri", tracking_uri)
    hasty = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0", "MLFLOW_HTTP_REQUEST_TIMEOUT": "5"} if impatient else {}
    with reached(tracking_uri), environment(**hasty), _one_at_a_time(file):
        connect(tracking_uri).search_experiments(max_results=1)


@contextmanager
def _one_at_a_time(file: Path | None) -> Iterator[None]:
    """Let one process of this machine at a time make the tables of a database, which two at once would spoil."""
    if file is None or not file.parent.is_dir():
        yield
        return
    folder = os.open(file.parent, os.O_RDONLY)
    try:
        with suppress(OSError):  # a file system without locks
            fcntl.flock(folder, fcntl.LOCK_EX)
        yield
    finally:
        os.close(folder)


@contextmanager
def reached(tracking_uri: str) -> Iterator[None]:
    """Raise Unreachable, with the mend, for whatever MLflow's client raises while the context lasts.

    `for_good` is set where MLflow refuses what it is asked, or where nothing can be asked by such a URI.
    """
    try:
        yield
    except (MlflowException, OSError, SQLAlchemyError, ImportError) as error:  # the last: a database's driver
        status = error.get_http_status_code() if isinstance(error, MlflowException) else 0
        for_good = status in (400, 401, 403) or isinstance(error, ImportError | ArgumentError | InvalidUrlException)
        told = f"MLflow at {redact(tracking_uri)} cannot be used: {mend(tracking_uri, error, status)}"
        raise Unreachable(told, for_good=for_good) from error


def out_of_reach(error: MlflowException) -> bool:
    """Whether MLflow's server refuses us or does not answer; else it answered, and has not what was asked for."""
    status = error.get_http_status_code()
    failed = isinstance(error, RestException) or error.message.startswith("API request to")
    return status in (401, 403) or (status >= 500 and failed)  # noqa: PLR2004 - HTTP's own number


@contextmanager
def process_uri(tracking_uri: str) -> Iterator[None]:
    """Hold the tracking URI that the whole process shares."""
    with _PROCESS:
        mlflow.set_tracking_uri(tracking_uri)
        mlflow.set_registry_uri(tracking_uri)
        yield


class MlflowRuns:
    """`pipeline.mirror.Runs` of MLflow."""

    def __init__(self, connection: Connection) -> None:
        self._mlflow = connection

    def find(self, uid: str) -> list[Run]:
        """See `pipeline.mirror.Runs.find`."""
        query = f"tags.`{STUDY_UID}` = '{uid}'"
        found = list(self._mlflow.client.search_runs([self._mlflow.experiment], query, max_results=MOST_RUNS))
        found.sort(key=lambda run: (run.info.start_time, run.info.run_id))
        return [Run(run.info.run_id, run.info.status, dict(run.data.tags), run.info.end_time) for run in found]

    def create(self, name: str, began: float, tags: dict[str, str]) -> Run:
        """See `pipeline.mirror.Runs.create`."""
        made = self._mlflow.client.create_run(self._mlflow.experiment, milliseconds(began), tags, name)
        return Run(made.info.run_id, made.info.status, dict(made.data.tags), images={})

    def delete(self, run_id: str) -> None:
        """See `pipeline.mirror.Runs.delete`."""
        self._mlflow.client.delete_run(run_id)

    def log(self, run_id: str, *, tags: Texts, params: Texts, metrics: Numbers, step: int, at: float) -> None:
        """See `pipeline.mirror.Runs.log`."""
        client = self._mlflow.client
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
        """See `pipeline.mirror.Runs.log_data`."""
        self._mlflow.client.log_inputs(run_id, datasets=[DatasetInput(Dataset(**data))])

    def upload(self, run_id: str, files: Mapping[str, bytes]) -> None:
        """See `pipeline.mirror.Runs.upload`."""
        with tempfile.TemporaryDirectory() as folder:
            for path, data in files.items():
                target = Path(folder, path)
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(data)
            self._mlflow.client.log_artifacts(run_id, folder)

    def sizes(self, run_id: str, folder: str) -> dict[str, int]:
        """See `pipeline.mirror.Runs.sizes`."""
        return {file.path: file.file_size for file in self._mlflow.client.list_artifacts(run_id, folder)}

    def set_status(self, run_id: str, status: str, at: float) -> None:
        """See `pipeline.mirror.Runs.set_status`."""
        if status == "RUNNING":
            self._mlflow.client.update_run(run_id, status)
        else:
            self._mlflow.client.set_terminated(run_id, status, milliseconds(at))
