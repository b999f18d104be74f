"""A search is read from a file, --set and options, and says what each trial trains."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline import keys
from pipeline.config import (
    HalvingConfig,
    RetryConfig,
    SearchConfig,
    first_params,
    load,
    resolved,
    search_space,
    train_config,
    trial_seed,
    vary_training,
)
from search_spaces import Choice, Union, defaults, find_space
from trainers.config import TrainConfig
from trainers.errors import ConfigError

EXAMPLES = sorted((Path(__file__).parents[2] / "examples").glob("*.yaml"))


def write(folder, text):
    path = folder / "f.yaml"
    path.write_text(text)
    return path


def first_config(search, branch=None):
    tried = {params.get("space"): params for params in defaults(search_space(search))}
    return train_config(search, tried[branch] if branch else next(iter(tried.values())), 0)


# -- what is read ------------------------------------------------------------------------------------------------------


def test_without_a_file_there_are_defaults():
    search = load()
    assert (search.study, search.space, search.store) == ("digits-classic", "classic", "./gansearch-store")
    assert search.n_startup_trials == 8
    assert search.halving == HalvingConfig(enabled=True, first_rung=1000, eta=3)
    assert search.retries == RetryConfig(worker_lost=3, device_memory=1)
    assert search.train == {}
    assert (search.gpus_per_worker, search.max_hours, search.tracking_uri, search.study_storage) == (None,) * 4


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_every_example_is_a_valid_search(path):
    search = load(path)
    assert search.study == path.stem
    for params in first_params(search):
        assert train_config(search, params, 1).data.name == path.stem


def test_the_digits_example_says_what_it_is():
    search = load(EXAMPLES[0].parent / "digits.yaml")
    config = first_config(search)
    assert (search.space, search.seed) == ("classic", 0)
    assert (config.network.name, config.network.width, config.network.depth) == ("mlp", 256, 2)


def test_options_win_over_set_over_the_file(tmp_path):
    path = write(tmp_path, "trials: 1\nworkers: 1\nseed: 1\nsteps: 10\nsegment_steps: 10\n")
    search = load(path, ["workers=2", "seed=2", "steps=20"], {"seed": 3, "steps": 30, "trials": None, "max_hours": 0.5})
    assert (search.trials, search.workers, search.seed, search.max_hours) == (1, 2, 3, 0.5)
    assert search.train == {"steps": 30, "segment_steps": 10}


def test_a_later_set_wins():
    assert load(None, ["n_critic=2", "n_critic=3"]).train == {"n_critic": 3}


@pytest.mark.parametrize(
    "text",
    ["optim: {lr_d: 1e-4, lr_g: 2e-4}", "optim.lr_d: 1e-4\noptim.lr_g: 2e-4", "optim:\n  lr_d: 1e-4\noptim.lr_g: 2e-4"],
)
def test_keys_are_nested_or_dotted(text, tmp_path):
    assert load(write(tmp_path, text)).train == {"optim": {"lr_d": 1e-4, "lr_g": 2e-4}}


@pytest.mark.parametrize(
    ("text", "sets", "train"),
    [
        ("network: {width: 32}", [], {"network": {"width": 32}}),
        ("data: ring8", [], {"data": {"name": "ring8"}}),
        ("network: {name: mlp, width: 32}", ["network.depth=3"], {"network": {"name": "mlp", "width": 32, "depth": 3}}),
        ("network: mlp", ["network.depth=3"], {"network": {"name": "mlp", "depth": 3}}),
        ("network: {name: mlp, width: 32}", ["network=dcgan"], {"network": {"name": "dcgan"}}),
        ("network: {width: 32}", ["network=dcgan"], {"network": {"name": "dcgan"}}),
        ("network: {width: 32}", ["network=mlp"], {"network": {"name": "mlp", "width": 32}}),
        ("penalty: {name: gradient, lambda: 3}", ["penalty.name=none"], {"penalty": {"name": "none"}}),
        ("penalty: {name: gradient, lambda: 3}", ["penalty=gradient"], {"penalty": {"name": "gradient", "lambda": 3}}),
        ("penalty: {lambda: 3}", ["penalty={name: gradient}"], {"penalty": {"name": "gradient", "lambda": 3}}),
        ("steps: 5", ["optim={lr_d: 1e-4}"], {"steps": 5, "optim": {"lr_d": 1e-4}}),
        ("optim: {}", [], {}),
    ],
)
def test_a_variant_merges_with_its_parameters(text, sets, train, tmp_path):
    assert load(write(tmp_path, text), sets).train == train


@pytest.mark.parametrize(
    ("data", "space", "study"),
    [("ring8", "gan", "ring8-gan"), ("digits", "classic", "digits-classic")],
)
def test_the_study_is_named_after_data_and_space(data, space, study):
    assert load(None, [f"space={space}"], {"data": data}).study == study
    assert load(None, [f"space={space}"], {"data": data, "study": "mine"}).study == "mine"


def test_a_study_named_after_a_module_is_a_valid_name():
    assert SearchConfig(space="my.spaces:SPACE").study == "digits-my.spaces-SPACE"


# -- what is trained ---------------------------------------------------------------------------------------------------


def sampled(branch, pick):
    return {dim.key: pick(dim) for dim in branch.dims}


def test_each_sampled_value_is_the_one_that_trains():
    """Every dimension gets a value that no default has, and must be found in the training under its own key."""
    search = load()
    for branch in find_space("classic").branches:
        dims = enumerate(branch.dims)
        values = {
            d.key: d.options[-1] if isinstance(d, Choice) else d.low + (d.high - d.low) / (7 + n) for n, d in dims
        }
        config = train_config(search, {"space": branch.name, **values}, 11)
        dump = keys.flatten(config.model_dump(mode="json"))
        assert {key: dump[key] for key in values} == values
        assert {key: dump[key] for key in branch.fixed} == dict(branch.fixed)
        assert config.seed == 11


def test_the_users_values_fix_dimensions_and_win():
    search = load(None, ["optim.lr_d=3e-4", "n_critic=2", "batch_size=16"])
    space = search_space(search)
    assert isinstance(space, Union)
    for branch, params in zip(space.branches, defaults(space), strict=True):
        assert not {"optim.lr_d", "n_critic"} & {dim.key for dim in branch.dims}
        config = train_config(search, params, 0)
        assert (config.optim.lr_d, config.n_critic, config.batch_size) == (3e-4, 2, 16)


def test_a_value_of_one_branch_drops_the_others():
    search = load(None, ["penalty.lambda=3"])
    assert [branch.name for branch in search_space(search).branches] == ["wgan_gp"]
    assert first_config(search, "wgan_gp").penalty.model_dump() == {"name": "gradient", "lambda": 3.0, "every": 1}


def test_detectors_can_be_set():
    config = first_config(load(None, ["stability.d_loss_zero.action=warn", "stability.non_finite={window: 5}"]))
    assert config.stability["d_loss_zero"].action == "warn"
    assert config.stability["non_finite"].window == 5
    assert config.stability["mode_collapse"].action == "stop"


def test_a_whole_float_is_a_whole_number():
    assert first_config(load(None, ["steps=1e3"])).steps == 1000


def test_a_trial_that_is_not_of_the_space_is_refused():
    with pytest.raises(ConfigError, match=r"optim\.beta1"):
        train_config(load(None, ["space=gan"]), {"optim.lr_d": 1e-4, "optim.lr_g": 1e-4, "n_critic": 1}, 0)


def test_the_users_configurations_come_first_then_the_defaults(tmp_path):
    text = "enqueue:\n  - {space: gan, n_critic: 5}\n  - penalty: {lambda: 2}\n  - {clip: 0.01}\n"
    search = load(write(tmp_path, text))
    assert search.enqueue == ({"space": "gan", "n_critic": 5}, {"penalty.lambda": 2}, {"clip": 0.01})
    first = first_params(search)
    assert [params["space"] for params in first] == ["gan", "wgan_gp", "wgan", "gan", "wgan_gp"]
    assert first[0]["n_critic"] == 5
    assert first[1]["penalty.lambda"] == 2.0
    assert first[2] == defaults(search_space(search))[1]  # the default of wgan, written out, is tried once
    assert all(train_config(search, params, 0) for params in first)


OWN = """
from typing import Literal
from pydantic import Field
from search_spaces import Float, Space
from trainers.params.detectors import DetectorParams
from trainers.params.penalties import PenaltyParams
from trainers.registry import Variant
class P(PenaltyParams):
    name: str = "own_variants:PENALTY"
    weight: float = Field(1.0, ge=0)
    table: dict[str, int] = {}
class D(DetectorParams):
    name: str = "own_variants:DETECTOR"
PENALTY = Variant(kind="penalty", name="own", summary="", params=P, make="x:y")
DETECTOR = Variant(kind="detector", name="own", summary="", params=D, make="x:y")
SPACE = Space(name="own", summary="", source="", fixed={"penalty": "own_variants:PENALTY"},
              dims=(Float("penalty.weight", 0.0, 2.0),), default={"penalty.weight": 1.0})
"""


@pytest.fixture
def own(tmp_path, monkeypatch):
    (tmp_path / "own_variants.py").write_text(OWN)
    monkeypatch.syspath_prepend(tmp_path)
    return tmp_path


def test_variants_of_the_users_own_are_written_like_shipped_ones(own):
    path = write(
        own,
        "space: own_variants:SPACE\npenalty: {table: {a: 1}}\nstability:\n  own_variants:DETECTOR: {window: 7}\n",
    )
    search = load(path, ["stability.own_variants:DETECTOR.action=warn"])
    config = train_config(search, {"penalty.weight": 0.25}, 0)
    assert config.penalty.model_dump() == {
        "name": "own_variants:PENALTY",
        "every": 1,
        "weight": 0.25,
        "table": {"a": 1},
    }
    detector = config.stability["own_variants:DETECTOR"]
    assert (detector.window, detector.action) == (7, "warn")


def test_a_mapping_of_a_variant_may_be_set_below_its_empty_default(own):
    config = train_config(load(None, ["space=own_variants:SPACE"]), {"penalty.weight": 0.25}, 0)
    assert config.penalty.model_dump()["table"] == {}
    assert vary_training(config, ["penalty.table.a=1"], {}).penalty.model_dump()["table"] == {"a": 1}


def test_a_variation_of_a_training_may_change_what_a_search_decides():
    varied = vary_training(TrainConfig(data="ring8"), ["seed=7", "optim={}", "network=dcgan"], {"steps": 9})
    assert (varied.seed, varied.steps, varied.network.name) == (7, 9, "dcgan")
    assert varied.data.name == "ring8"


# -- round trips and what is shown -------------------------------------------------------------------------------------

SCALARS = st.booleans() | st.integers(-(2**40), 2**40) | st.floats(allow_nan=False, allow_infinity=False) | st.text()
JSON = st.recursive(SCALARS | st.none(), lambda v: st.lists(v, max_size=3) | st.dictionaries(st.text(), v, max_size=3))
POSITIVE = st.floats(min_value=1e-3, max_value=1e6)
NAMES = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}", fullmatch=True)
SEARCHES = st.builds(
    SearchConfig,
    study=NAMES,
    space=st.text(),
    trials=st.integers(1, 10**6),
    workers=st.integers(1, 10**4),
    gpus_per_worker=st.none() | POSITIVE,
    seed=st.integers(0, 2**63 - 1),
    max_hours=st.none() | POSITIVE,
    enqueue=st.lists(st.dictionaries(st.text(), SCALARS, max_size=4), max_size=3),
    n_startup_trials=st.integers(1, 100),
    halving=st.builds(HalvingConfig, enabled=st.booleans(), first_rung=st.integers(1, 10**6), eta=st.integers(2, 9)),
    retries=st.builds(RetryConfig, worker_lost=st.integers(0, 9), device_memory=st.integers(0, 9)),
    store=st.text(min_size=1),
    tracking_uri=st.none() | st.text(min_size=1),
    train=st.dictionaries(st.sampled_from(sorted(TrainConfig.model_fields)), JSON, max_size=4),
)


@given(search=SEARCHES)
def test_a_search_survives_json(search):
    again = SearchConfig.model_validate_json(search.model_dump_json())
    assert again == search
    assert SearchConfig.model_validate(json.loads(json.dumps(search.model_dump(mode="json")))) == search


def test_a_number_that_json_has_not_is_refused():
    with pytest.raises(ValueError, match="train"):
        SearchConfig(train={"ema": float("nan")})


def test_trial_seeds_are_fixed_in_range_and_different():
    seeds = [trial_seed(study, number) for study in range(30) for number in range(30)]
    assert len(set(seeds)) == 900
    assert all(0 <= seed < 2**63 for seed in seeds)
    assert trial_seed(0, 0) == 1576848291327681832
    assert trial_seed(1, 11) != trial_seed(11, 1)


def test_resolved_has_every_key_and_masks_passwords():
    search = load(None, ["optim.lr_d=3e-4", "tracking_uri=postgresql://secret@host:5000/x", "space=gan"])
    shown = resolved(search)
    expected = (set(SearchConfig.model_fields) - {"train"}) | (set(TrainConfig.model_fields) - {"seed"}) | {"searched"}
    assert set(shown) - {"seed"} == expected - {"seed"}
    assert shown["seed"] == search.seed
    assert shown["optim"]["lr_d"] == 3e-4
    assert shown["optim"]["lr_g"] == 5e-5
    assert set(shown["searched"]["gan"]) == {"optim.lr_g", "optim.beta1", "n_critic"}
    assert shown["tracking_uri"] == "postgresql://***@host:5000/x"
    assert "secret" not in json.dumps(shown)
