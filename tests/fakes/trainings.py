"""Trainings that take milliseconds, and variants of a user's own that they use."""

import hashlib
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from trainers.config import TrainConfig
from trainers.data import Dataset
from trainers.data import load as load_data
from trainers.evaluation import Evaluator
from trainers.game import Game
from trainers.gan import build
from trainers.history_file import to_bytes
from trainers.loop import Segment, train
from trainers.networks import Networks
from trainers.networks.mlp import make as make_mlp
from trainers.params.networks import MlpParams
from trainers.registry import Params, Variant, find
from trainers.state import TrainState, load

DCGAN = {"network": {"name": "dcgan", "features": 2}, "data": "tests.fakes.trainings:IMAGES"}
DCGAN_WITHOUT_NORM = DCGAN | {"network": {"name": "dcgan", "features": 2, "norm_d": "layer"}}
WGAN_GP = {"objective": "wasserstein", "penalty": "gradient"}


def tiny(**changes: Any) -> TrainConfig:
    """Return a configuration of 12 short steps in segments of 5, with `changes` to it."""
    base: dict[str, Any] = {
        "data": "ring8",
        "network": {"name": "mlp", "width": 6, "depth": 1},
        "metrics": ["tests.fakes.trainings:SPREAD"],
        "latent": {"size": 3},
        "batch_size": 4,
        "steps": 12,
        "segment_steps": 5,
        "evaluation": {"samples": 8, "grid": 4},
        "device": "cpu",
    }
    return TrainConfig.model_validate(base | changes)


def run(config: TrainConfig, state: TrainState | None = None) -> list[Segment]:
    """Train to the end."""
    return list(train(config, state))


def game_of(config: TrainConfig) -> Game:
    """Return the game of two players that a training plays, at step 0."""
    dataset = load_data(config.data)
    objective = find("objective", config.objective.name).load_make()(config.objective)
    return build(objective, config, dataset.shape, len(dataset.train), torch.device("cpu"))


def state_of(segment: Segment) -> TrainState:
    """Return the state after a segment, by way of its bytes."""
    return load(segment.checkpoint())


def bits(segments: list[Segment]) -> list[tuple[Any, ...]]:
    """Return all that a training promises to the last bit, segment by segment."""
    return [
        (s.index, s.start, s.stop, to_bytes(s.history), s.events, s.scores, s.pictured(), s.checkpoint(), s.generator())
        for s in segments
    ]


def digest(config: TrainConfig) -> str:
    """Return the SHA-256 of a training's bits."""
    return hashlib.sha256(repr(bits(run(config))).encode()).hexdigest()


def column(segments: list[Segment], name: str) -> list[float | None]:
    """Return one signal of every step, None where it has no value."""
    return [value for segment in segments for value in segment.history.column(name).to_pylist()]


def said(signals: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
    """Return D's outputs on real and on fake samples, as its loss tells them."""
    on_real, on_fake = signals["said"].tensor_split(2)
    return on_real, on_fake


def _images(params: Any) -> Dataset:
    pixels = np.random.Generator(np.random.Philox(key=7)).random((60, 1, 16, 16), dtype=np.float32) * 2 - 1
    return Dataset(name=params.name, train=pixels[:40], held_out=pixels[40:], metric="none", licence="none needed")


def _spread(_params: Any) -> Any:
    return lambda dataset, _extractor: Evaluator(
        metric="spread", shape=dataset.shape, score=lambda samples: {"spread": float(samples.std(dtype=np.float64))}
    )


def _unscorable(_params: Any) -> Any:
    return lambda dataset, _extractor: Evaluator(
        metric="unscorable", shape=dataset.shape, score=lambda _samples: {"unscorable": float("nan"), "extra": 1.0}
    )


IMAGES = Variant(kind="data", name="tests.fakes.trainings:IMAGES", summary="16x16 noise", make=_images)
SPREAD = Variant(kind="metric", name="tests.fakes.trainings:SPREAD", summary="std of all samples", make=_spread)
UNSCORABLE = Variant(kind="metric", name="tests.fakes.trainings:UNSCORABLE", summary="NaN", make=_unscorable)


def _normed(_params: Params) -> Networks:
    """Return networks whose D has batch statistics that no parameter tells of."""
    return make_mlp(MlpParams(width=6, norm_d="batch"))


def _bounded(_params: Params) -> Networks:
    """Return networks whose D says probabilities."""
    made = make_mlp(MlpParams(width=6))
    return Networks(
        generator=made.generator,
        discriminator=lambda shape, outputs: nn.Sequential(made.discriminator(shape, outputs), nn.Sigmoid()),
        init="he",
    )


BOUNDED = Variant(kind="network", name="tests.fakes.trainings:BOUNDED", summary="sigmoid in D", make=_bounded)
NORMED = Variant(kind="network", name="tests.fakes.trainings:NORMED", summary="batch norm in D", make=_normed)
