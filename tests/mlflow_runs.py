"""A study in MLflow, read by MLflow's own client alone."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import mlflow
import pyarrow as pa
import pyarrow.parquet as pq


class Runs:
    """A study's runs by trial number, read by MLflow alone."""

    def __init__(self, uri: str, study: str) -> None:
        self.client = mlflow.MlflowClient(tracking_uri=uri, registry_uri=uri)
        self.experiment = self.client.get_experiment_by_name(study).experiment_id
        found = self.client.search_runs([self.experiment], max_results=1000)
        keyed = {run.data.tags.get("gansearch.number", "study"): run for run in found}
        assert len(keyed) == len(found), "two runs of one trial"
        self.study = keyed.pop("study")
        self.trials = {int(number): run for number, run in sorted(keyed.items())}

    def file(self, number: int, path: str) -> bytes:
        return Path(self.client.download_artifacts(self.trials[number].info.run_id, path)).read_bytes()

    def metric(self, number: int, key: str) -> dict[int, float]:
        history = self.client.get_metric_history(self.trials[number].info.run_id, key)
        assert len(history) == len({m.step for m in history}), "a step is there twice"
        return {m.step: m.value for m in history}

    def history(self, number: int) -> pa.Table:
        return pq.read_table(io.BytesIO(self.file(number, "history.parquet")))

    def events(self, number: int) -> list[dict[str, Any]]:
        table = json.loads(self.file(number, "events.json"))
        return [dict(zip(table["columns"], row, strict=True)) for row in table["data"]]
