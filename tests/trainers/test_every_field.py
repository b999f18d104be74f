"""No knob is dead: every field that a space can set changes what a training does, where it applies."""

from collections.abc import Iterator, Mapping
from typing import Any

import pytest
from pydantic import BaseModel

from tests.fakes.trainings import DCGAN, game_of, run, tiny
from trainers.config import TrainConfig
from trainers.history_file import to_bytes
from trainers.registry import known

IMAGES = DCGAN["data"]
VARIANTS = ("data", "objective", "network", "penalty", "stability")  # fields that hold variants: their own are below
# What says how a training is run, and not what it does.
HOW = {"device", "threads", "deterministic", "checkpoint_every", "static_checks", "metrics", "score_at"}
WASSERSTEIN = {"objective": "wasserstein"}
WARM = {"warmup": {"updates": 1, "n_critic": 3, "again_every": 2}}
PAIRS: dict[str, tuple[Mapping[str, Any], Any]] = {  # of a field: a configuration where it applies, and another value
    "seed": ({}, 1),
    "clip": (WASSERSTEIN, 0.01),
    "optim.name": ({}, ("rmsprop", "sgd")),
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
    "slow_every": ({"slow_every": 4}, 5),
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


def test_packed_samples_are_judged_together() -> None:
    """Two samples are one input of D."""
    d = {pack: game_of(tiny(pack=pack)).networks["discriminator"] for pack in (1, 2)}
    assert [next(d[pack].parameters()).shape[1] for pack in (1, 2)] == [2, 4]


# -- the fields of variants --------------------------------------------------------------------------------------------

RANDOM = {"noise": ("additive", "multiplicative"), "dropout": 0.5, "split_latent": True}
GIVEN = {"noise_std": {"noise": "additive"}, "dropout_at_sampling": {"dropout": 0.5}}  # what a field needs to apply
FIELDS: dict[str, dict[str, dict[str, Any]]] = {  # of a kind and a variant: another value of each field, or several
    "objective": {
        "least_squares": {"a": -1.0, "b": 2.0, "c": 0.0},
        "f_gan": {"divergence": ("kl", "reverse_kl", "neyman"), "generator": "strict"},
        "ebgan": {"code": 3, "margin": 2.0, "pull_away": 0.5, "pretrain": 3},
        "began": {"code": 3, "gamma": 0.25, "lambda_k": 0.5},
        "loss_sensitive": {"gamma": 0.5, "tau": 0.25, "distance": "sum"},
        "vae": {"beta": 0.5, "sigma": 0.25},
    },
    "network": {
        "mlp": RANDOM | {"init": ("normal", "orthogonal"), "width": 5, "depth": 3, "width_d": 5, "depth_d": 3}
        | {"activation": ("relu", "tanh")}
        | {"norm_g": ("batch", "layer"), "norm_d": ("batch", "layer", "spectral"), "noise_std": 0.5}
        | {"dropout_at_sampling": True},
        "dcgan": RANDOM | {"init": ("he", "orthogonal"), "features": 3, "activation": ("relu", "tanh")}
        | {"norm_g": ("none", "layer", "instance"), "norm_d": ("none", "layer", "instance", "spectral")}
        | {"upsample": "pixel_shuffle", "downsample": "average", "noise_std": 0.5, "dropout_at_sampling": True},
        "resnet": RANDOM | {"init": ("normal", "orthogonal"), "features": 3, "norm_g": ("none", "layer", "instance")}
        | {"norm_d": ("none", "batch", "layer", "instance"), "noise_std": 0.5, "dropout_at_sampling": True},
        "dirac": {"theta": 2.0, "psi": 2.0},
        "pacgan": RANDOM | {"init": ("he", "orthogonal"), "width_g": 5, "width_d": 5, "pieces": 3}
        | {"noise_std": 0.5, "dropout_at_sampling": True},
    },
    "penalty": {
        **{name: {"every": 2, "lambda": 1.0} for name in ("gradient", "gradient_one_sided", "r1", "r2", "r1_r2")},
        "dragan": {"every": 2, "lambda": 1.0},
        "l2": {"every": 2, "lambda": 1.0},
    },
    "data": {
        "stacked_digits": {"train": 40, "held_out": 30},
        "polygons": {"vertices": 4, "min_angle": 40.0, "scale": 0.5, "train": 20, "held_out": 30},
    },
}  # fmt: skip
SMALL = {
    "dcgan": {"features": 2},
    "resnet": {"features": 2},
    "pacgan": {"width_g": 4, "width_d": 4, "pieces": 2},
    "mlp": {"width": 6, "depth": 2},
    "stacked_digits": {"train": 50, "held_out": 40},
    "polygons": {"train": 30, "held_out": 40},
}
FILES = {"root", "download", "cache"}  # say where data lie; what else their readers have is looked at in tests of these
READERS = {"mnist", "fashion_mnist", "kmnist", "cifar10", "svhn", "celeba", "image_folder", "parquet"}
CASES = [(kind, name, field) for kind, some in FIELDS.items() for name, fields in some.items() for field in fields]


def configuration(kind: str, name: str, changes: Mapping[str, Any]) -> dict[str, Any]:
    """Return a configuration where a variant's fields apply."""
    own = {kind: {"name": name, **SMALL.get(name, {}), **changes}, "latent": {"size": 16}}
    if kind == "data":
        network = {"name": "dcgan", "features": 2} if name == "stacked_digits" else {"name": "mlp", "width": 4}
        return {**own, "network": network, "metrics": ["sliced_wasserstein"]}
    if name == "dirac":
        return {**own, "data": "dirac", "metrics": ["sliced_wasserstein"]}
    if name in ("dcgan", "resnet"):
        return {**own, "data": IMAGES}
    return own


def test_every_field_of_every_variant_is_looked_at() -> None:
    for kind, looked_at in FIELDS.items():
        fields = {variant.name: set(variant.load_params().model_fields) - {"name"} for variant in known(kind)}
        aliased = {name: {"lambda" if field == "lambda_" else field for field in own} for name, own in fields.items()}
        searched = {name: own for name, own in aliased.items() if own and name not in READERS | {"none"}}
        assert searched == {name: set(own) for name, own in looked_at.items()}
    assert set(FIELDS) == set(VARIANTS) - {"stability"}  # a detector's are looked at in tests of detectors


@pytest.mark.parametrize(("kind", "name", "field"), CASES)
def test_a_field_of_a_variant_changes_the_training_where_it_applies(kind: str, name: str, field: str) -> None:
    given = FIELDS[kind][name][field]
    values = given if isinstance(given, tuple) else (given,)
    base = GIVEN.get(field, {})
    results = [trained(configuration(kind, name, {**base, **more})) for more in ({}, *({field: v} for v in values))]
    assert all(one != other for place, one in enumerate(results) for other in results[:place])
