"""Draw from generators that MLflow holds; imports no MLflow before it is asked to."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from trainers.errors import IntegrityError, UserError

BATCH = 500  # latents at once, as in trainers.generate, so that a model and its trial draw the same numbers
Floats = npt.NDArray[np.float32]


def draw(model_uri: str, tracking_uri: str, n: int, seed: int) -> Floats:
    """Draw from a model, with the latents that `gansearch sample TRIAL` takes for the same seed.

    Args:
        model_uri: such as `models:/gan@champion`, `models:/gan/1` or that of a logged model.
        tracking_uri: where MLflow is.
        n: samples, at least 1.
        seed: at least 0.

    Returns:
        Samples, float32 [n, *shape].

    Raises:
        UserError: there is no such model, or it is not one of this software.
        Unreachable: MLflow does not answer.
        IntegrityError: the samples do not have the shape that was noted with the model.
    """
    from pipeline.mlflow_registry import load_pyfunc
    from trainers.generate import draw_latents

    predict, about = load_pyfunc(tracking_uri, model_uri)
    if not {"prior", "latent", "shape"} <= about.keys():
        raise UserError(f"model {model_uri} must be one that `gansearch register` made: it does not say its prior")
    latents = draw_latents(about["prior"], int(about["latent"]), n, seed)
    samples = np.concatenate([predict(latents[at : at + BATCH]) for at in range(0, n, BATCH)])
    if samples.shape != (n, *about["shape"]):
        raise IntegrityError(f"model {model_uri} gave {samples.shape}, but its samples must be {tuple(about['shape'])}")
    return samples
