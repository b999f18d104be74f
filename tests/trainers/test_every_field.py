"""No knob is dead: every field that a space can set changes what a training does, where it applies."""

from collections.abc import Iterator, Mapping
from typing import Any

import pytest
from pydantic import BaseModel

from tests.fakes.trainings import DCGAN, run, tiny
from trainers.config import TrainConfig
from trainers.history_file import to_bytes

IMAGES = DCGAN["data"]
VARIANTS = ("data", "objective", "network", "penalty", "stability")  # fields that hold a variant: looked at below
# What says how a training is run, and not what it does.
HOW = {"device", "threads", "deterministic", "checkpoint_every", "static_checks", "metrics", "score_at"}
WASSERSTEIN = {"objective": "wasserstein"}
WARM = {"warmup": {"updates": 1, "n_critic": 3, "again_every": 2}}
PAIRS: dict[str, tuple[Mapping[str, Any], Any]] = {  # of a field: a configuration where it applies, and another value
    "seed": ({}, 1),
    "clip": (WASSERSTEIN, 0.01),
    "optim.name": ({}, "rmsprop"),
    "optim.beta1_g": ({}, 0.9),
    "optim.beta2_g": ({}, 0.5),
    "optim.weight_decay": ({}, 0.5),
    "optim.decay": ({"optim": {"decay_every": 4}}, ("linear", "cosine", "step")),
    "optim.decay_from": ({"optim": {"decay": "linear"}}, 6),
    "optim.decay_every": ({"optim": {"decay": "step", "decay_every": 4}}, 3),
    "optim.decay_factor": ({"optim": {"decay": "step", "decay_every": 3}}, 0.9),
    "n_critic": ({}, 2),
    "warmup.updates": ({"warmup": {"n_critic": 3}}, 2),
    "warmup.n_critic": ({"warmup": {"updates": 2, "n_critic": 3}}, 2),
    "warmup.again_every": ({"warmup": {"n_critic": 3}}, 2),
    "updates": ({}, "simultaneous"),
    "order": ({}, "generator_first"),
    "fakes": ({}, "reused"),
    "batches": (DCGAN, "mixed"),
    "batch_size": ({}, 5),
    "pack": ({}, 2),
    "labels.soft_real": ({}, 0.1),
    "labels.soft_fake": ({}, 0.1),
    "labels.flip_real": ({}, 0.5),
    "labels.flip_fake": ({}, 0.5),
    "instance_noise.std": ({}, 0.1),
    "instance_noise.decay_steps": ({"instance_noise": {"std": 0.1}}, 5),
    "augment.translation": (DCGAN, 0.25),
    "augment.cutout": (DCGAN, 0.5),
    "replay.size": ({}, 8),
    "replay.share": ({"replay": {"size": 8}}, 0.25),
    "swap.player": ({"swap": {"every": 4, "steps": 2}}, ("generator", "discriminator")),
    "swap.every": ({"swap": {"player": "generator", "every": 4, "steps": 2}}, 5),
    "swap.steps": ({"swap": {"player": "generator", "every": 4, "steps": 2}}, 1),
    "train_d_above": ({}, 10.0),
    "train_g_above": ({}, 10.0),
    "latent.size": ({}, 4),
    "latent.prior": ({}, "uniform"),
    "ema": ({}, 0.5),
    "steps": ({}, 11),
    "segment_steps": ({}, 4),
    "evaluation.samples": ({}, 9),
    "evaluation.grid": (DCGAN, 3),
}


def leaves(model: type[BaseModel], prefix: str = "") -> Iterator[str]:
    for name, field in model.model_fields.items():
        if name in VARIANTS and not prefix:
            continue
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            yield from leaves(field.annotation, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}"


def changed(base: Mapping[str, Any], key: str, value: Any) -> dict[str, Any]:
    """Return a configuration's mapping with one dotted key set."""
    head, _, rest = key.partition(".")
    if not rest:
        return {**base, head: value}
    inner = base.get(head, {})
    return {**base, head: changed({"name": inner} if isinstance(inner, str) else inner, rest, value)}


def trained(changes: Mapping[str, Any]) -> list[tuple[Any, ...]]:
    """Return what was measured and what was drawn; a checkpoint has memories, which differ even if unread."""
    return [(s.stop, to_bytes(s.history), s.scores, s.pictured()) for s in run(tiny(**changes))]


def test_every_field_is_looked_at() -> None:
    ours = {key for key in leaves(TrainConfig) if key not in HOW}
    searched = {key for key in ours if key not in {"optim.lr_d", "optim.lr_g", "optim.beta1", "optim.beta2"}}
    assert searched == set(PAIRS)


@pytest.mark.parametrize("key", ["optim.lr_d", "optim.lr_g", "optim.beta1", "optim.beta2"])
def test_the_optimizers_numbers_change_the_training(key: str) -> None:
    assert trained(changed({}, key, 0.03)) != trained(changed({}, key, 0.05))


@pytest.mark.parametrize("key", PAIRS)
def test_a_field_changes_the_training_where_it_applies(key: str) -> None:
    base, given = PAIRS[key]
    values = given if isinstance(given, tuple) else (given,)
    results = [trained(base), *(trained(changed(base, key, value)) for value in values)]
    assert all(one != other for place, one in enumerate(results) for other in results[:place])
