"""The shipped spaces hold what their source says, and spaces are found by name, module or entry point."""

from pathlib import Path

import pytest

import search_spaces
from search_spaces import Choice, Float, Space, Union, find_space, known_spaces
from tests.fakes.packages import install, printed
from trainers.errors import ConfigError

LR = [("optim.lr_d", 1e-5, 1e-2, True), ("optim.lr_g", 1e-5, 1e-2, True)]
BETA1 = ("optim.beta1", 0.0, 0.999, False)

OWN = """
from search_spaces import Float, Space
SPACE = Space(name="mine", summary="", source="", dims=(Float("ema", 0.0, 0.9),), default={"ema": 0.5})
NOTHING = 3
"""


@pytest.mark.parametrize(
    ("name", "floats", "default"),
    [
        ("gan", [*LR, BETA1], (5e-5, 5e-5, 0.0, 1)),
        ("wgan", [*LR, BETA1, ("clip", 1e-3, 1.0, True)], (5e-5, 5e-5, 0.5, 5, 0.01)),
        ("wgan_gp", [*LR, BETA1, ("penalty.lambda", 0.1, 100.0, True)], (1e-4, 1e-4, 0.5, 5, 10.0)),
    ],
)
def test_shipped_ranges_and_defaults_are_those_of_lucic_et_al(name, floats, default):
    space = find_space(name)
    found = [(dim.key, dim.low, dim.high, dim.log) for dim in space.dims if isinstance(dim, Float)]
    choices = [(dim.key, dim.options) for dim in space.dims if isinstance(dim, Choice)]
    assert found == floats
    assert choices == [("n_critic", (1, 5))]
    assert tuple(space.default[dim.key] for dim in space.dims) == default
    assert "1711.10337" in space.source


@pytest.mark.parametrize(
    ("name", "fixed"),
    [
        ("gan", {"objective.name": "non_saturating", "penalty.name": "none", "clip": None}),
        ("wgan", {"objective.name": "wasserstein", "penalty.name": "none"}),
        ("wgan_gp", {"objective.name": "wasserstein", "penalty.name": "gradient", "clip": None}),
    ],
)
def test_shipped_spaces_fix_what_makes_them_what_they_are(name, fixed):
    assert find_space(name).fixed == fixed


def test_classic_is_the_union_of_the_three():
    classic = find_space("classic")
    assert isinstance(classic, Union)
    assert [space.name for space in classic.spaces] == ["gan", "wgan", "wgan_gp"]
    assert {space.name for space in known_spaces()} >= {"classic", "gan", "wgan", "wgan_gp"}


def test_a_shipped_declaration_is_short():
    folder = Path(search_spaces.__file__).parent
    sixteen = {"lucic"}  # spaces in one table of eight models
    names = {path.stem for path in folder.glob("*.py")} - {"__init__", "declarations", "narrowing"} - sixteen
    assert len(names) == 8
    assert {name: n for name in names if (n := len((folder / f"{name}.py").read_text().splitlines())) > 60} == {}


@pytest.mark.parametrize(
    ("name", "fragment"),
    [
        ("wgangp", "unknown space 'wgangp'; did you mean 'wgan_gp'? (known: ali_grid25, classic, ebgan_grid, gan"),
        ("no_such_module:SPACE", "space 'no_such_module:SPACE' cannot be imported: No module named"),
        ("own_spaces:MISSING", "cannot be imported"),
        (":SPACE", "space ':SPACE' must be module:name"),
        ("broken_spaces:SPACE", "space 'broken_spaces:SPACE' cannot be imported: SystemExit: 3 ("),
        ("own_spaces:NOTHING", "must be a Space or a Union, but is 3"),
    ],
)
def test_an_unknown_space_is_an_error(name, fragment, tmp_path, monkeypatch):
    (tmp_path / "own_spaces.py").write_text(OWN)
    (tmp_path / "broken_spaces.py").write_text("raise SystemExit(3)")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ConfigError) as caught:
        find_space(name)
    assert fragment in str(caught.value)


def test_a_space_of_the_users_own_is_found_by_module(tmp_path, monkeypatch):
    (tmp_path / "own_spaces.py").write_text(OWN)
    monkeypatch.syspath_prepend(tmp_path)
    space = find_space("own_spaces:SPACE")
    assert isinstance(space, Space)
    assert space.name == "mine"


def test_an_installed_package_can_bring_a_space(tmp_path):
    (tmp_path / "own_spaces.py").write_text(OWN)
    install(tmp_path, "own_spaces", {"gansearch.space": {"mine": "own_spaces:SPACE"}})
    code = (
        "from search_spaces import find_space, known_spaces\n"
        "print(find_space('mine').name, len(known_spaces()))\n"
        "print(sorted({'torch', 'optuna', 'ray', 'mlflow'} & set(sys.modules)))"
    )
    assert printed(tmp_path, code) == [f"mine {len(search_spaces.SHIPPED) + 1}", "[]"]
