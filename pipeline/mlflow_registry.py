"""MLflow's models and registry; one of the files that import mlflow."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib.metadata import version
from typing import Any

# before mlflow, whose environment it sets
from pipeline.mlflow_runs import Connection, ask, out_of_reach, process_uri, reached  # isort: skip

import mlflow
import numpy as np
from mlflow.entities import LoggedModelStatus
from mlflow.exceptions import MlflowException

from pipeline.projection import ModelVersion
from pipeline.safe_text import redact
from trainers.config import TrainConfig
from trainers.errors import UserError


class MlflowModels:
    """`pipeline.shelf.Models` of MLflow."""

    def __init__(self, connection: Connection) -> None:
        self._mlflow = connection

    def find(self, tags: Mapping[str, str]) -> list[tuple[str, bool]]:
        """See `pipeline.shelf.Models.find`."""
        query = " AND ".join(f"tags.`{key}` = '{value}'" for key, value in tags.items())
        found = self._mlflow.client.search_logged_models([self._mlflow.experiment], query)
        return [(str(model.model_id), model.status == LoggedModelStatus.READY) for model in found]

    def delete(self, model_id: str) -> None:
        """See `pipeline.shelf.Models.delete`."""
        self._mlflow.client.delete_logged_model(model_id)

    def log(
        self, run_id: str, tags: dict[str, str], config: TrainConfig, shape: tuple[int, ...], weights: bytes
    ) -> str:
        """See `pipeline.shelf.Models.log`."""
        with process_uri(self._mlflow.tracking_uri):
            # By itself MLflow puts the model into its "Default" experiment, whose files lie in the working directory.
            made = mlflow.initialize_logged_model("generator", run_id, tags, experiment_id=self._mlflow.experiment)
            _fill(str(made.model_id), config, shape, weights, run_id)
        return str(made.model_id)

    def versions(self, name: str) -> list[ModelVersion]:
        """See `pipeline.shelf.Models.versions`."""
        found = self._mlflow.client.search_model_versions(f"name = '{name}'")
        versions = [ModelVersion(version=int(each.version), tags=dict(each.tags)) for each in found]
        return sorted(versions, key=lambda each: each.version)

    def create_version(self, name: str, model_id: str, tags: dict[str, str], note: str) -> int:
        """See `pipeline.shelf.Models.create_version`."""
        client = self._mlflow.client
        if not client.search_registered_models(f"name = '{name}'"):
            client.create_registered_model(name, description="Generators that gansearch found.")
        run_id = client.get_logged_model(model_id).source_run_id
        made = client.create_model_version(name, f"models:/{model_id}", run_id, tags, None, note, model_id=model_id)
        return int(made.version)

    def aliases(self, name: str) -> dict[str, int]:
        """See `pipeline.shelf.Models.aliases`."""
        found = self._mlflow.client.search_registered_models(f"name = '{name}'")
        return {alias: int(version) for model in found for alias, version in model.aliases.items()}

    def set_alias(self, name: str, alias: str, version: int) -> None:
        """See `pipeline.shelf.Models.set_alias`."""
        self._mlflow.client.set_registered_model_alias(name, alias, str(version))


def load_pyfunc(tracking_uri: str, model_uri: str) -> tuple[Callable[[Any], Any], dict[str, Any]]:
    """Return a model's function from latents [n, size] to samples [n, *shape], and what was noted of it.

    Raises:
        UserError: there is no such model.
        Unreachable: MLflow does not answer.
    """
    ask(tracking_uri)
    with reached(tracking_uri), process_uri(tracking_uri):
        try:
            model = mlflow.pyfunc.load_model(model_uri)
        except MlflowException as error:
            if out_of_reach(error):
                raise
            told = f"model {model_uri} cannot be loaded from {redact(tracking_uri)}: {redact(error.message)}"
            raise UserError(f"{told}; `gansearch register` makes one") from error
    return model.predict, dict(model.metadata.metadata or {})


def _fill(model_id: str, config: TrainConfig, shape: tuple[int, ...], weights: bytes, run_id: str) -> None:
    """Fill a model with a generator as a traced graph, which loads without this project's code."""
    from mlflow.models import ModelSignature
    from mlflow.types import Schema, TensorSpec

    from trainers.generate import latents, load_generator

    single, latent = np.dtype(np.float32), config.latent
    signature = ModelSignature(
        inputs=Schema([TensorSpec(single, (-1, latent.size))]), outputs=Schema([TensorSpec(single, (-1, *shape))])
    )
    mlflow.pytorch.log_model(
        load_generator(config, shape, weights),
        input_example=latents(config, 2, seed=0),  # two: a batch of one would be traced as a constant
        signature=signature,
        pip_requirements=[f"{name}=={version(name).partition('+')[0]}" for name in ("torch", "numpy")],
        metadata={"prior": latent.prior, "latent": latent.size, "shape": list(shape)},
        run_id=run_id,
        model_id=model_id,
    )
