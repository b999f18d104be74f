"""Every place where a study is shown: MLflow, and a database of Optuna's where one is named; imports neither."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pipeline.projector import Tracker
from pipeline.safe_text import redact
from pipeline.store import Store
from trainers.errors import ConfigError


def open_trackers(config: Mapping[str, Any], store: Store, study: str, tracking_uri: str | None) -> list[Tracker]:
    """Return where a study is shown, MLflow first, once each place has answered.

    Args:
        config: the search's, as JSON.
        store: that holds the study's blobs.
        study: its name.
        tracking_uri: where MLflow is; None is the store's own file.

    Raises:
        Unreachable: one of them does not answer, or refuses; the message names the mend.
        ConfigError: both would be in one database, or one is not where it could be.
    """
    from pipeline.mlflow_store import Tracker as MlflowTracker

    mlflow = MlflowTracker(tracking_uri, store, study)
    mlflow.check()
    url = config.get("study_storage")
    if url is None:
        return [mlflow]
    if url == mlflow.tracking_uri:  # their tables have one name in common
        raise ConfigError(f"study_storage must be another database than MLflow's, but got {redact(str(url))!r}")
    from pipeline.optuna_storage import StudyStorage

    optuna = StudyStorage(str(url), study)
    optuna.check()
    return [mlflow, optuna]
