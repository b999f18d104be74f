"""TrainConfig: what is valid survives JSON, what is not is refused, and torch is not needed for either."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from trainers.config import Environment, TrainConfig
from trainers.params.networks import MlpParams
from trainers.params.penalties import GradientPenaltyParams
from trainers.registry import known

ROOT = Path(__file__).parents[2]

positive = st.floats(1e-8, 10, allow_subnormal=False)
decay = st.floats(0, 1, exclude_max=True)
detectors = st.fixed_dictionaries(
    {},
    optional={
        "threshold": st.floats(1e-6, 1, exclude_max=True),
        "window": st.integers(50, 10_000),
        "action": st.sampled_from(["stop", "warn", "off"]),
    },
)
networks = st.one_of(
    st.sampled_from(["mlp", "dcgan"]),
    st.fixed_dictionaries(
        {"name": st.just("mlp")}, optional={"width": st.integers(1, 4096), "depth": st.integers(1, 9)}
    ),
    st.fixed_dictionaries(
        {"name": st.just("dcgan")},
        optional={"features": st.integers(1, 1024), "norm_d": st.sampled_from(["batch", "layer", "none"])},
    ),
)
penalties = st.one_of(
    st.sampled_from(["none", "gradient"]),
    st.fixed_dictionaries({"name": st.just("gradient"), "lambda": st.floats(0, 1e6)}),
)
optims = st.fixed_dictionaries(
    {},
    optional={
        "name": st.sampled_from(["adam", "rmsprop", "sgd"]),
        "lr_d": positive,
        "lr_g": positive,
        "beta1": decay,
        "beta2": decay,
        "beta1_g": st.none() | decay,
        "beta2_g": st.none() | decay,
    },
)
schedules = st.one_of(
    st.fixed_dictionaries({"n_critic": st.integers(1, 1000)}),
    st.just({"updates": "simultaneous"}),
    st.just({}),
)
configs = st.builds(
    lambda schedule, rest: schedule | rest,
    schedules,
    st.fixed_dictionaries(
        {},
        optional={
            "seed": st.integers(0, 2**63 - 1),
            "data": st.sampled_from([variant.name for variant in known("data")])
            | st.just({"name": "mnist", "root": "x"}),
            "objective": st.sampled_from([variant.name for variant in known("objective")]),
            "network": networks,
            "penalty": penalties,
            "clip": st.none() | positive,
            "optim": optims,
            "batch_size": st.integers(1, 65536),
            "latent": st.fixed_dictionaries(
                {"size": st.integers(1, 65536), "prior": st.sampled_from(["normal", "uniform"])}
            ),
            "ema": decay,
            "steps": st.integers(1, 10**9),
            "metrics": st.sampled_from([(), ("frechet",)]),
            "stability": st.dictionaries(
                st.sampled_from([variant.name for variant in known("detector") if variant.name != "spectral_collapse"]),
                detectors,  # that one's threshold is a factor above 1
            ),
            "static_checks": st.sampled_from(["refuse", "warn"]),
            "deterministic": st.booleans(),
        },
    ),
)


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(configs)
def test_a_valid_configuration_survives_json_to_the_bit(values):
    config = TrainConfig.model_validate(values)
    text = config.model_dump_json()
    again = TrainConfig.model_validate_json(text)
    assert again == config
    assert again.model_dump_json() == text
    assert TrainConfig.model_validate(config.model_dump(mode="json")) == config
    for name, value in values.items():
        if name in ("seed", "clip", "n_critic", "ema", "batch_size", "steps"):
            assert getattr(again, name) == value


def test_nested_parameters_survive_with_their_types():
    config = TrainConfig.model_validate(
        {"penalty": {"name": "gradient", "lambda": 3.5}, "network": {"name": "mlp", "width": 9}}
    )
    again = TrainConfig.model_validate_json(config.model_dump_json())
    assert again.penalty == GradientPenaltyParams(lambda_=3.5)
    assert again.network == MlpParams(width=9)
    assert config.model_dump(mode="json")["penalty"] == {"name": "gradient", "lambda": 3.5, "every": 1}


def test_a_name_alone_stands_for_its_defaults():
    config = TrainConfig.model_validate({"penalty": "gradient"})
    assert config.penalty == GradientPenaltyParams()
    assert config == TrainConfig.model_validate({"penalty": {"name": "gradient", "lambda": 10}})


def test_every_detector_is_there_and_a_mention_changes_only_what_it_names():
    config = TrainConfig.model_validate({"stability": {"exploding_gradient": {"threshold": 7}}})
    assert set(config.stability) == {variant.name for variant in known("detector")}
    assert (config.stability["exploding_gradient"].threshold, config.stability["exploding_gradient"].window) == (7, 50)
    assert config.stability["d_loss_zero"] == TrainConfig().stability["d_loss_zero"]


def test_a_configuration_cannot_be_changed():
    with pytest.raises(ValidationError, match="frozen"):
        TrainConfig().seed = 1
    with pytest.raises(ValidationError, match="frozen"):
        TrainConfig().optim.lr_d = 1.0


NAN, INF = float("nan"), float("inf")
WRONG = [
    ({"seed": -1}, "seed"),
    ({"seed": 2**63}, "seed"),
    ({"sed": 1}, "sed"),
    ({"data": "no_such"}, "unknown data 'no_such'"),
    ({"data": 3}, "must be the name of a data set, or"),
    ({"data": {"root": "x"}}, "must be the name of a data set, or"),
    ({"data": {"name": "digits", "root": "x"}}, "root"),
    ({"objective": 3}, "must be the name of an objective, or"),
    ({"objective": "wassertein"}, "did you mean 'wasserstein'"),
    ({"network": {"name": "mlp", "width": 0}}, "width"),
    ({"network": {"name": "mlp", "depth": 0}}, "depth"),
    ({"network": {"name": "mlp", "features": 2}}, "features"),
    ({"network": {"name": "dcgan", "features": 0}}, "features"),
    ({"network": {"name": "dcgan", "norm_d": "weight"}}, "norm_d"),
    ({"penalty": {"name": "gradient", "lambda": -1}}, "lambda"),
    ({"penalty": {"name": "gradient", "lambda": NAN}}, "lambda"),
    ({"penalty": {"name": "none", "lambda": 1}}, "lambda"),
    ({"clip": 0}, "clip"),
    ({"clip": -0.01}, "clip"),
    ({"clip": INF}, "clip"),
    ({"optim": {"name": "lbfgs"}}, "name"),
    ({"optim": {"lr": 1e-4}}, "lr"),
    ({"optim": {"lr_d": 0}}, "lr_d"),
    ({"optim": {"lr_g": 11}}, "lr_g"),
    ({"optim": {"lr_d": NAN}}, "lr_d"),
    ({"optim": {"beta1": 1}}, "beta1"),
    ({"optim": {"beta2": -0.1}}, "beta2"),
    ({"optim": {"beta1_g": 1.5}}, "beta1_g"),
    ({"optim": {"beta2_g": 1}}, "beta2_g"),
    ({"n_critic": 0}, "n_critic"),
    ({"n_critic": 1.5}, "n_critic"),
    ({"n_critic": 5, "updates": "simultaneous"}, "n_critic must be 1 with updates=simultaneous, but got n_critic=5"),
    ({"updates": "sometimes"}, "updates"),
    ({"updates": "simultaneous", "order": "generator_first"}, "order must be discriminator_first with updates=simul"),
    ({"updates": "simultaneous", "fakes": "reused"}, "fakes must be fresh with updates=simultaneous, but got"),
    ({"updates": "simultaneous", "warmup": {"updates": 25}}, "warmup.updates must be 0 with updates=simultaneous"),
    ({"updates": "simultaneous", "warmup": {"again_every": 5}}, "warmup.again_every must be 0 with updates=simul"),
    ({"order": "both"}, "order"),
    ({"fakes": "old"}, "fakes"),
    ({"warmup": {"n_critic": 0}}, "n_critic"),
    ({"batches": "joint"}, "batches"),
    ({"pack": 0}, "pack"),
    ({"labels": {"soft_real": 0.6}}, "soft_real"),
    ({"labels": {"flip_fake": -0.1}}, "flip_fake"),
    ({"instance_noise": {"std": -1}}, "std"),
    ({"augment": {"translation": 0.6}}, "translation"),
    ({"augment": {"cutout": 1.1}}, "cutout"),
    ({"replay": {"share": 0}}, "share"),
    ({"swap": {"player": "both"}}, "player"),
    ({"swap": {"player": "generator", "every": 5, "steps": 5}}, "swap.steps must be below swap.every=5, but got swap"),
    ({"train_d_above": NAN}, "train_d_above"),
    ({"train_g_above": "low"}, "train_g_above"),
    ({"optim": {"decay": "fast"}}, "decay"),
    ({"optim": {"weight_decay": -1}}, "weight_decay"),
    ({"optim": {"decay_factor": 0}}, "decay_factor"),
    ({"penalty": {"name": "r1", "every": 0}}, "every"),
    ({"batch_size": 0}, "batch_size"),
    ({"batch_size": "many"}, "batch_size"),
    ({"latent": {"size": 0}}, "size"),
    ({"latent": {"prior": "cauchy"}}, "prior"),
    ({"ema": 1}, "ema"),
    ({"ema": -0.1}, "ema"),
    ({"steps": 0}, "steps"),
    ({"steps": 10**9 + 1}, "steps"),
    ({"segment_steps": 0}, "segment_steps"),
    ({"metrics": ["frechet", "mixture_kl"]}, "metrics"),
    ({"score_at": "first"}, "score_at"),
    ({"evaluation": {"samples": 1}}, "samples"),
    ({"evaluation": {"grid": 0}}, "grid"),
    ({"stability": []}, "must be a mapping from a detector's name"),
    ({"stability": {"d_los_zero": {}}}, "did you mean 'd_loss_zero'"),
    ({"stability": {"d_loss_zero": {"window": 0}}}, "window"),
    ({"stability": {"d_loss_zero": {"threshold": 0}}}, "threshold"),
    ({"stability": {"exploding_gradient": {"threshold": -1}}}, "threshold"),
    ({"stability": {"non_finite": {"threshold": -1}}}, "threshold"),
    ({"stability": {"non_finite": {"action": "ignore"}}}, "action"),
    ({"stability": {"non_finite": {"treshold": 1}}}, "treshold"),
    ({"stability": {"spectral_collapse": {"threshold": 1}}}, "threshold"),
    ({"slow_every": 1}, "slow_every"),
    ({"static_checks": "off"}, "static_checks"),
    ({"checkpoint_every": 0}, "checkpoint_every"),
    ({"checkpoint_every": 10**9}, "checkpoint_every"),
    ({"device": "tpu"}, "device"),
    ({"threads": 0}, "threads"),
]


@pytest.mark.parametrize(("values", "names"), WRONG, ids=str)
def test_a_wrong_value_is_refused_and_named(values, names):
    with pytest.raises(ValidationError) as error:
        TrainConfig.model_validate(values)
    assert names in str(error.value)


def test_every_field_has_a_wrong_value_in_the_table():
    assert {key for values, _ in WRONG for key in values} >= set(TrainConfig.model_fields) - {"deterministic"}
    with pytest.raises(ValidationError, match="deterministic"):
        TrainConfig.model_validate({"deterministic": "perhaps"})


def test_configurations_of_every_variant_import_no_torch():
    code = """
import sys
from trainers.config import TrainConfig
from trainers.registry import KINDS, known
for kind in KINDS:
    for variant in known(kind):
        variant.load_params()
TrainConfig.model_validate({"network": "dcgan", "penalty": "gradient", "data": "mnist", "objective": "wasserstein"})
print(sorted({"torch", "torchvision", "sklearn", "scipy", "ray", "mlflow", "optuna"} & set(sys.modules)))
"""
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    shown = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env=environment, capture_output=True, text=True, check=True
    )
    assert shown.stdout.strip() == "[]"


def test_an_environment_survives_json():
    environment = Environment(
        device="cpu", cpu="x86_64 AVX2", python="3", torch="2", numpy="2", threads=1, deterministic=True
    )
    assert Environment.model_validate_json(environment.model_dump_json()) == environment


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("NoNumber", "temperature"),
        ("NotANumber", "temperature"),
        ("NoJson", "must have parameters that JSON can hold, but temperature is none: "),
        ("Bent", r"must have parameters that JSON keeps, but temperature=\(1, 2\) is read as \[1, 2\]"),
        ("Unordered", "must have parameters that JSON keeps, but temperature="),
    ],
)
def test_parameters_that_a_journal_would_not_give_back_are_refused(name, why):
    with pytest.raises(ValidationError, match=why):
        TrainConfig.model_validate({"objective": f"tests.fakes.odd_variants:{name}V"})
