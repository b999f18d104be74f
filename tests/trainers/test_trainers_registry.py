"""Variants by name and as module:name."""

import pytest

from tests.fakes import trainings
from trainers.errors import ConfigError
from trainers.registry import KINDS, SHIPPED, Params, Variant, find, known


@pytest.mark.parametrize("variant", SHIPPED, ids=lambda variant: f"{variant.kind}-{variant.name}")
def test_every_shipped_variant_is_found_and_loads(variant):
    assert find(variant.kind, variant.name) is variant
    assert variant in known(variant.kind)
    params = variant.load_params().model_validate({"name": variant.name})
    assert params.name == variant.name
    assert type(params).model_validate_json(params.model_dump_json()) == params
    assert callable(variant.load_make())
    assert variant.summary


def test_names_are_unique_within_a_kind():
    assert len({(variant.kind, variant.name) for variant in SHIPPED}) == len(SHIPPED)
    assert {variant.kind for variant in SHIPPED} == set(KINDS)


def test_a_variant_of_ones_own_is_found_by_its_module():
    assert find("data", "tests.fakes.trainings:IMAGES") is trainings.IMAGES


def test_an_unknown_name_is_told_with_the_nearest_and_all_others():
    with pytest.raises(ConfigError) as error:
        find("network", "dcgann")
    text = str(error.value)
    assert "unknown network 'dcgann'; did you mean 'dcgan'?" in text
    assert "known: dcgan, mlp, or module:name" in text


def test_a_name_of_another_kind_is_unknown():
    with pytest.raises(ConfigError, match="unknown objective 'digits'"):
        find("objective", "digits")


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("no_such_module:IT", "cannot be imported: No module named 'no_such_module'"),
        ("tests.fakes.trainings:NOTHING", "cannot be imported: .*NOTHING"),
        ("tests.fakes.trainings:tiny", "must be a Variant of kind 'data', but is <function"),
        ("tests.fakes.trainings:SPREAD", "must be a Variant of kind 'data', but is Variant"),
        (":IT", "must be module:name"),
        ("module:", "must be module:name"),
        (".relative:IT", "must be module:name"),
        ("a:b:c", "must be module:name"),
    ],
)
def test_what_is_not_a_variant_is_refused(name, told):
    with pytest.raises(ConfigError, match=told):
        find("data", name)


def test_the_parameter_model_and_the_function_may_be_objects():
    variant = Variant(kind="penalty", name="mine", summary="mine", make=lambda params: params.name)
    assert variant.load_params() is Params
    assert variant.load_make()(Params(name="mine")) == "mine"
