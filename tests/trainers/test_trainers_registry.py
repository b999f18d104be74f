"""Variants by name and as module:name."""

import re
import sys
import textwrap

import pytest

from tests.fakes import trainings
from tests.fakes.packages import install, printed
from trainers import data
from trainers.errors import ConfigError
from trainers.registry import KINDS, Params, Variant, find, known
from trainers.shipped import SHIPPED as ROWS

SHIPPED = [find(kind, row.name) for kind, rows in ROWS.items() for row in rows]


@pytest.mark.parametrize("variant", SHIPPED, ids=lambda variant: f"{variant.kind}-{variant.name}")
def test_every_shipped_variant_is_found_and_loads(variant):
    assert variant in known(variant.kind)
    params = variant.load_params().model_validate({"name": variant.name})
    assert params.name == variant.name
    assert type(params).model_validate_json(params.model_dump_json()) == params
    assert callable(variant.load_make())
    assert variant.summary


def test_names_are_unique_within_a_kind():
    assert all(len({row.name for row in rows}) == len(rows) for rows in ROWS.values())
    assert set(ROWS) == set(KINDS)


def test_a_variant_of_ones_own_is_found_by_its_module():
    assert find("data", "tests.fakes.trainings:IMAGES") is trainings.IMAGES


def test_an_unknown_name_is_told_with_the_nearest_and_all_others():
    with pytest.raises(ConfigError) as error:
        find("network", "dcgann")
    text = str(error.value)
    assert "unknown network 'dcgann'; did you mean 'dcgan'?" in text
    assert "(known: dcgan, dirac, mlp, pacgan, resnet, or module:name)" in text


def test_a_name_of_another_kind_is_unknown():
    with pytest.raises(ConfigError, match="unknown objective 'digits'"):
        find("objective", "digits")


@pytest.mark.parametrize(
    ("name", "told"),
    [
        (
            "no_such_module:IT",
            "No module named 'no_such_module'; install it, or run in the folder that holds it",
        ),
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


@pytest.mark.parametrize(
    ("source", "told"),
    [
        ("\nraise RuntimeError('no luck')", "RuntimeError: no luck ({file}:2)"),
        ("def f(:", "SyntaxError: invalid syntax ({file}:1)"),
        ("import sys\nsys.exit(3)", "SystemExit: 3 ({file}:2)"),
        ("assert False", "AssertionError ({file}:1)"),
        ("import no_such_module", "ModuleNotFoundError: No module named 'no_such_module' ({file}:1)"),
        ("", "module 'broken_import' has no attribute 'IT'"),
    ],
)
def test_a_module_that_does_not_import_is_told_with_the_line_that_is_wrong(source, told, tmp_path, monkeypatch):
    (tmp_path / "broken_import.py").write_text(source)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "broken_import", raising=False)
    with pytest.raises(ConfigError) as error:
        find("data", "broken_import:IT")
    told = told.format(file=tmp_path / "broken_import.py")
    assert str(error.value) == f"data 'broken_import:IT' cannot be imported: {told}"


def test_what_a_module_prints_stays_out_of_stdout(tmp_path, monkeypatch, capsys):
    (tmp_path / "talks.py").write_text("print('loaded')")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ConfigError, match="has no attribute"):
        find("data", "talks:IT")
    assert capsys.readouterr() == ("", "loaded\n")


def test_parameters_that_do_not_import_are_told(tmp_path, monkeypatch):
    (tmp_path / "broken_params.py").write_text("1 / 0")
    monkeypatch.syspath_prepend(tmp_path)
    variant = Variant(kind="penalty", name="mine", summary="", params="broken_params:P", make="x:y")
    with pytest.raises(ConfigError, match=r"the parameters of penalty 'broken_params:P' cannot be imported: ZeroDiv"):
        variant.load_params()


def test_parameters_that_are_none_are_told():
    for params in (3, dict, "tests.fakes.trainings:DCGAN"):
        variant = Variant(kind="penalty", name="mine", summary="", params=params, make="x:y")
        with pytest.raises(
            ConfigError, match=r"penalty 'mine' must be a subclass of trainers.registry.Params, but are"
        ):
            variant.load_params()


def test_a_name_among_the_parameters_of_a_variant_of_ones_own_is_refused(tmp_path, monkeypatch):
    source = """
        from typing import Literal
        from trainers.registry import Params, Variant
        class MineParams(Params):
            name: Literal["mine"] = "mine"
        MINE = Variant(kind="objective", name="mine", summary="", params=MineParams, make="x:y")
    """
    (tmp_path / "two_names.py").write_text(textwrap.dedent(source))
    monkeypatch.syspath_prepend(tmp_path)
    told = "objective 'two_names:MINE' has more than one name: leave `name` out of MineParams, or make it a str"
    with pytest.raises(ConfigError, match=re.escape(told)):
        find("objective", "two_names:MINE")


@pytest.mark.parametrize(
    ("packages", "told"),
    [
        (
            {"a": "mlp = them:MLP"},
            "network 'mlp' of an installed package (them:MLP) has the name of one that is shipped: ",
        ),
        (
            {"a": "net = them:NET", "b": "net = them:MLP"},
            "has the name of network 'net' of an installed package (them:",
        ),
        (
            {"a": "other = them:NET"},
            "network 'other' of an installed package (them:NET) must have the name that its Va",
        ),
        ({"a": "net = them:NET", "b": "net = them:NET"}, "net"),  # one package, found twice
    ],
)
def test_names_of_installed_packages_are_clear(packages, told, tmp_path):
    variants = "".join(
        f"{n.upper()} = Variant(kind='network', name='{n}', summary='', make='x:y')\n" for n in ("mlp", "net")
    )
    (tmp_path / "them.py").write_text(f"from trainers.registry import Variant\n{variants}")
    for package, point in packages.items():
        name, _, where = point.partition(" = ")
        install(tmp_path, package, {"gansearch.network": {name: where}})
    code = (
        "from trainers.registry import find\nfrom trainers.errors import ConfigError\n"
        "try: print(find('network', 'net').name)\n"
        "except ConfigError as error: print(error)"
    )
    assert told in "".join(printed(tmp_path, code))


def test_an_installed_package_that_does_not_import_is_named(tmp_path):
    (tmp_path / "their_variants.py").write_text("raise RuntimeError('no luck')")
    points = {"theirs": "their_variants:IT"}
    install(tmp_path, "their_variants", {"gansearch.data": points, "gansearch.space": points})
    code = (
        "from search_spaces import known_spaces; from trainers.registry import known\n"
        "from trainers.errors import ConfigError\n"
        "for ask in (lambda: known('data'), known_spaces):\n"
        "    try: ask()\n"
        "    except ConfigError as error: print(error)"
    )
    place = f"{tmp_path / 'their_variants.py'}:1"
    told = f"'theirs' of an installed package (their_variants:IT) cannot be imported: RuntimeError: no luck ({place})"
    assert printed(tmp_path, code) == [f"data {told}", f"space {told}"]


def test_every_shipped_data_set_says_what_it_holds_and_every_metric_what_it_scores_or_anything():
    told = [v.name for v in SHIPPED if v.samples is None and v.kind in ("data", "metric")]
    assert told == ["energy_distance", "sliced_wasserstein"]
    for variant in SHIPPED:
        if variant.name in ("digits", "ring8", "grid25"):
            dataset = data.load(Params(name=variant.name))
            assert (dataset.is_image, dataset.modes is None) == (variant.samples == "images",) * 2
            assert find("metric", dataset.metric).samples == variant.samples
