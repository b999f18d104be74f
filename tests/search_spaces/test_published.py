"""The spaces after published searches: their figures, and that whatever they try can be trained."""

from __future__ import annotations

import math
from dataclasses import astuple
from typing import Any

import pytest

from pipeline import keys
from pipeline.config import load, train_config
from search_spaces import SHIPPED, Choice, Space, Union, defaults, find_space, narrow, probes, resolve
from trainers.checks import refusals
from trainers.config import TrainConfig
from trainers.errors import ConfigError
from trainers.loop import train

# Lucic et al. 2018: published defaults (learning rate, beta1, D updates, D's batch norm), and what a model has besides.
LUCIC: dict[str, tuple[tuple[Any, ...], dict[str, tuple[float, Any, Any]]]] = {
    "gan": ((5e-5, 0.0, 1, "batch"), {}),
    "minimax": ((5e-5, 0.0, 1, "batch"), {}),
    "lsgan": ((2e-4, 0.5, 1, "batch"), {}),
    "wgan": ((5e-5, 0.5, 5, "batch"), {"clip": (0.01, (-3, 0), (-2, 0))}),
    "wgan_gp": ((1e-4, 0.5, 5, "none"), {"penalty.lambda": (10.0, (-1, 2), (-1, 1))}),
    "dragan": ((1e-4, 0.5, 1, "batch"), {"penalty.lambda": (10.0, (-1, 2), (-1, 1))}),
    "began": ((1e-4, 0.5, 5, "none"), {"objective.lambda_k": (1e-3, (-4, -2), None)}),  # exponents of ten
    "vae": ((5e-5, 0.5), {}),
}
WITHOUT_NORM = ("wgan_gp", "dragan")  # in the narrow ranges: batch normalisation is False
OBJECTIVES = {
    "gan": ("non_saturating", "none"),
    "minimax": ("minimax", "none"),
    "lsgan": ("least_squares", "none"),
    "wgan": ("wasserstein", "none"),
    "wgan_gp": ("wasserstein", "gradient"),
    "dragan": ("non_saturating", "dragan"),
    "began": ("began", "none"),
    "vae": ("vae", "none"),
}
LR_KEY, NORM_KEY = "optim.lr_d", "network.norm_d"


def ranges(space: Space) -> dict[str, Any]:
    """Return a space's ranges: (low, high, log) or options, by key."""
    return {dim.key: dim.options if isinstance(dim, Choice) else astuple(dim)[1:] for dim in space.dims}


def powers(low: float, high: float) -> Any:
    """Return the range of 10^low to 10^high, uniform in the exponent."""
    return pytest.approx((10.0**low, 10.0**high, True))


# -- Lucic et al. ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("model", LUCIC)
def test_the_wide_ranges_and_defaults_are_those_of_lucic_et_al(model):
    space = find_space(f"lucic_wide/{model}")
    published, own = LUCIC[model]
    expected: dict[str, Any] = {LR_KEY: powers(-5, -2), "optim.beta1": (0.0, 0.999, False)}
    if model != "vae":
        expected |= {"n_critic": (1, 5), NORM_KEY: ("batch", "none")}
    expected |= {key: powers(*wide) for key, (_, wide, _) in own.items()}
    if model == "began":
        expected["objective.gamma"] = (0.0, 1.0, False)
    assert ranges(space) == expected
    values = [*published, *(value for value, _, _ in own.values()), *([0.75] if model == "began" else [])]
    assert list(space.default.values()) == values
    assert space.source == "Lucic et al. 2018, arXiv:1711.10337, wide ranges"


@pytest.mark.parametrize("model", LUCIC)
def test_the_narrow_ranges_are_those_of_lucic_et_al(model):
    space = find_space(f"lucic_narrow/{model}")
    _, own = LUCIC[model]
    expected: dict[str, Any] = {LR_KEY: powers(-4, -3)}
    if model != "vae" and model not in WITHOUT_NORM:
        expected[NORM_KEY] = ("batch", "none")
    expected |= {key: powers(*narrowed) for key, (_, _, narrowed) in own.items() if narrowed is not None}
    if model == "began":
        expected["objective.gamma"] = (0.6, 0.9, False)
        assert space.fixed["objective.lambda_k"] == 1e-3
    assert ranges(space) == expected
    assert (space.fixed["optim.beta1"], space.fixed["n_critic"]) == (0.5, 1)
    assert (space.fixed.get(NORM_KEY) == "none") == (model in WITHOUT_NORM)


@pytest.mark.parametrize("model", LUCIC)
def test_a_narrow_default_is_the_published_one_or_the_nearest_within(model):
    published, own = LUCIC[model]
    default = find_space(f"lucic_narrow/{model}").default
    assert default[LR_KEY] == max(published[0], 1e-4)
    assert default.get(NORM_KEY) == (None if model in (*WITHOUT_NORM, "vae") else published[3])
    assert {key: default[key] for key in own if key in default} == {
        key: value for key, (value, _, narrowed) in own.items() if narrowed is not None
    }


@pytest.mark.parametrize("width", ["wide", "narrow"])
@pytest.mark.parametrize("model", LUCIC)
def test_what_lucic_et_al_fix_is_fixed(model, width):
    space = find_space(f"lucic_{width}/{model}")
    assert (space.fixed["objective.name"], space.fixed["penalty.name"]) == OBJECTIVES[model]
    protocol = {"network.name": "dcgan", "optim.name": "adam", "batch_size": 64, "latent.size": 64}
    assert protocol.items() <= space.fixed.items()
    assert space.fixed["latent.prior"] == ("normal" if model == "vae" else "uniform")
    assert space.tied == {"optim.lr_g": LR_KEY}
    assert ("clip" in space.fixed) == (model != "wgan")


# -- the others --------------------------------------------------------------------------------------------------------


def test_the_landscape_has_the_ranges_of_kurach_et_al():
    landscape = find_space("landscape")
    assert isinstance(landscape, Union)
    common = {
        LR_KEY: powers(-5, -2),
        "optim.beta1": (0.0, 0.999, False),
        "optim.beta2": (0.0, 0.999, False),
        "n_critic": (1, 5),
        NORM_KEY: ("none", "batch", "layer", "spectral"),
    }
    none, gradient, l2 = landscape.spaces
    assert [space.name for space in landscape.spaces] == [space.fixed["penalty.name"] for space in landscape.spaces]
    assert (none.name, ranges(none)) == ("none", common)
    assert (gradient.name, ranges(gradient)) == ("gradient", common | {"penalty.lambda": powers(-1, 2)})
    assert (l2.name, ranges(l2)) == ("l2", common | {"penalty.lambda": powers(-4, 1)})
    published = {LR_KEY: 2e-4, "optim.beta1": 0.5, "optim.beta2": 0.999, "n_critic": 1, NORM_KEY: "spectral"}
    lambdas = ({}, {"penalty.lambda": 10.0}, {"penalty.lambda": 0.01})
    assert [space.default for space in landscape.spaces] == [published | own for own in lambdas]
    assert all((space.fixed["latent.size"], space.fixed["batch_size"]) == (128, 64) for space in landscape.spaces)


def test_the_notes_have_the_four_parameters_and_nothing_else():
    clip, penalty = find_space("notes").branches
    common = {LR_KEY: powers(-5, -2), "optim.lr_g": powers(-5, -2), "n_critic": (1, 5)}
    assert ranges(clip) == common | {"clip": powers(-3, 0)}
    assert ranges(penalty) == common | {"penalty.lambda": powers(-1, 2)}
    assert [branch.fixed["objective.name"] for branch in (clip, penalty)] == ["wasserstein"] * 2
    assert (clip.default["clip"], penalty.default["penalty.lambda"]) == (0.01, 10.0)
    assert (clip.default["n_critic"], penalty.default["n_critic"]) == (5, 5)


def test_the_ebgan_grid_is_that_of_zhao_et_al():
    ebgan, gan = find_space("ebgan_grid").branches
    layers = {"network.depth": (2, 3, 4, 5), "network.depth_d": (2, 3, 4, 5)}
    grid = layers | {"network.width": (400, 800, 1600, 3200), "network.width_d": (128, 256, 512, 1024)}
    assert ranges(ebgan) == grid
    assert ranges(gan) == grid | {LR_KEY: (0.01, 0.001, 0.0001)}
    assert (ebgan.fixed[LR_KEY], ebgan.fixed["optim.lr_g"]) == (1e-3, 1e-3)
    assert [branch.fixed["objective.name"] for branch in (ebgan, gan)] == ["ebgan", "non_saturating"]


def test_the_search_of_dumoulin_et_al_draws_a_learning_rate_and_beta1():
    space = find_space("ali_grid25")
    assert ranges(space) == {LR_KEY: powers(-5, -2), "optim.beta1": (0.0, 0.999, False)}
    assert space.default == {LR_KEY: 1e-4, "optim.beta1": 0.8}
    assert space.fixed["batch_size"] == 100
    assert "ranges of Lucic et al. 2018" in space.source


# -- all that are shipped ----------------------------------------------------------------------------------------------

NAMES = [space.name for space in SHIPPED]


def test_no_two_spaces_have_one_name():
    assert len(set(NAMES)) == len(NAMES) == 4 + 1 + 16 + 3


@pytest.mark.parametrize("name", NAMES)
def test_every_default_and_every_end_of_a_range_is_a_training_that_is_not_refused(name):
    search, space = load(None, [], {"space": name}), find_space(name)
    for params in probes(space):
        config = train_config(search, params, 1)
        assert [event.message for event in refusals(config) if event.action == "stop"] == []


@pytest.mark.parametrize("name", NAMES)
def test_what_a_space_tries_is_what_trains(name):
    search, space = load(None, [], {"space": name}), find_space(name)
    for params in probes(space):
        values = resolve(space, params)
        dump = keys.flatten(train_config(search, params, 1).model_dump(mode="json"))
        assert {key: dump[key] for key in values} == values


@pytest.mark.parametrize("name", NAMES)
def test_what_the_user_sets_wins_over_what_is_searched_and_tied(name):
    search = load(None, ["optim.lr_g=0.5"], {"space": name})  # which drops ebgan_grid's branch with a fixed rate
    for params in defaults(narrow(find_space(name), {"optim.lr_g": 0.5})):
        config = train_config(search, params, 1)
        assert config.optim.lr_g == 0.5
        assert config.optim.lr_d < 0.5


def _small(config: TrainConfig, name: str) -> TrainConfig:
    """Return the training's first five steps, on few numbers, scored by something quick."""
    images = config.network.name == "dcgan"
    values = config.model_dump(mode="json")
    values |= {"data": "digits" if images else "grid25" if name == "ali_grid25" else "ring8"}
    values |= {"metrics": ["tests.fakes.trainings:SPREAD"], "steps": 5, "segment_steps": 5, "device": "cpu"}
    values["evaluation"] = {"samples": 8, "grid": 4}
    if images:
        values["network"] |= {"features": 4}
    return TrainConfig.model_validate(values)


@pytest.mark.parametrize("name", NAMES)
def test_every_default_trains(name):
    search = load(None, [], {"space": name})
    for params in defaults(find_space(name)):
        (segment,) = train(_small(train_config(search, params, 7), name))
        assert (segment.stop, segment.stopped) == (5, False)
        assert len(segment.scores) == 1
        for player in ("g",) if "vae" in name else ("d", "g"):
            norms = segment.history.column(f"grad_norm_{player}").drop_null().to_pylist()
            updates = 5 // int(params.get("n_critic", 1)) if player == "g" else 5
            assert len(norms) == updates
            assert all(0 < norm < math.inf for norm in norms)


def test_a_space_with_a_slash_names_its_study():
    assert load(None, [], {"space": "lucic_wide/wgan_gp", "data": "digits"}).study == "digits-lucic_wide-wgan_gp"


def test_a_network_without_the_norm_that_is_searched_is_refused():
    with pytest.raises(ConfigError, match="which pacgan has not"):
        load(None, ["network=pacgan"], {"space": "landscape"})


def test_a_tied_rate_is_followed_and_an_own_one_is_not():
    tied = {space.name for space in SHIPPED if all(branch.tied for branch in space.branches)}
    assert tied == {*(name for name in NAMES if name.startswith("lucic")), "landscape", "ali_grid25"}
    for name in tied:
        search = load(None, [], {"space": name})
        for params in defaults(find_space(name)):
            config = train_config(search, {**params, LR_KEY: 7e-4}, 1)
            assert (config.optim.lr_d, config.optim.lr_g) == (7e-4, 7e-4)


def test_batch_normalisation_beside_a_gradient_penalty_is_the_only_thing_that_is_warned_of():
    warned = {s.name for s in SHIPPED for branch in s.branches if branch.fixed.get("static_checks") == "warn"}
    assert warned == {
        "lucic_wide/wgan_gp",
        "lucic_wide/dragan",
        "lucic_narrow/wgan_gp",
        "lucic_narrow/dragan",
        "landscape",
    }
