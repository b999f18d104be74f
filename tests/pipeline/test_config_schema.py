"""The JSON schema of a search file accepts what is valid, refuses what is not, and knows every key."""

from pathlib import Path

import jsonschema
import pytest
import yaml

from pipeline.config import SearchConfig
from pipeline.config_schema import schema
from trainers.config import TrainConfig

EXAMPLES = sorted((Path(__file__).parents[2] / "examples").glob("*.yaml"))


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_every_example_is_valid(path):
    jsonschema.validate(yaml.safe_load(path.read_text()), schema())


def test_the_schema_covers_every_key():
    document = schema()
    jsonschema.Draft202012Validator.check_schema(document)
    expected = (set(SearchConfig.model_fields) - {"train"}) | set(TrainConfig.model_fields)
    assert set(document["properties"]) == expected


@pytest.mark.parametrize(
    "value",
    [
        {"penalty": "none"},
        {"penalty": {"lambda": 1}},
        {"data": {"name": "mnist", "root": "x"}},
        {"objective": "mine:objective"},
        {"optim.lr_d": 1e-4},
        {"stability": {"non_finite": {"action": "off"}}},
        {"enqueue": [{"space": "gan"}]},
    ],
)
def test_the_schema_accepts_what_is_valid(value):
    jsonschema.validate(value, schema())


@pytest.mark.parametrize(
    "value",
    [
        {"penalty": {"name": "gradient", "lambda": -1}},
        {"penalty": {"name": "none", "lambda": 1}},
        {"network": {"name": "mlp", "features": 3}},
        {"n_critc": 1},
        {"n_critic": 0},
        {"halving": {"eta": 1}},
        {"stability": {"d_loss_zero": {"windw": 3}}},
        {"train": {"steps": 3}},
    ],
)
def test_the_schema_refuses_what_is_not(value):
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(value, schema())
