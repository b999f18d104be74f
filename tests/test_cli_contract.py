"""The words of the command line that other programs and people's habits hang on; they change only on purpose."""

from __future__ import annotations

import json
from collections.abc import Iterator
from importlib.metadata import entry_points
from typing import Any

import pytest
import typer

from pipeline.cli import app
from trainers import errors

STORE, STUDY, MLFLOW, FORMAT = "--store", "--study", "--tracking-uri", "--format"
SEARCH = ["--study", "--space", "--data", "--trials", "--steps", "--workers", "--seed", "--max-hours"]
COMMANDS: dict[str, tuple[str, list[str]]] = {  # its argument ([] around one that may be left out), and its options
    "search": ("[FILE]", [*SEARCH, "--set", "--address", "--allow-drift", STORE, MLFLOW, FORMAT]),
    "trials": ("", [STORE, STUDY, MLFLOW, "--event", FORMAT]),
    "show": ("TRIAL", ["--config", STORE, STUDY, MLFLOW, FORMAT]),
    "rerun": ("TRIAL", ["--verify", "--set", "--steps", "--device", "--out", STORE, STUDY, MLFLOW, FORMAT]),
    "register": ("[TRIAL]", ["--name", "--alias", "--dry-run", STORE, STUDY, MLFLOW, FORMAT]),
    "sample": ("MODEL", ["-n", "--seed", "--out", STORE, STUDY, MLFLOW]),
    "sync": ("", [STORE, STUDY, MLFLOW, FORMAT]),
    "ui": ("", ["--port", STORE, STUDY, MLFLOW]),
    "doctor": ("", [STORE, MLFLOW, "--address", FORMAT]),
    "list": ("KIND", [FORMAT]),
    "config show": ("[FILE]", ["--set", FORMAT]),
    "config validate": ("[FILE]", ["--set", FORMAT]),
    "config schema": ("", []),
}
KEYS = """
study space data objective steps segment_steps trials workers gpus_per_worker seed schedule max_hours enqueue metrics
n_critic updates batch_size latent optim penalty clip ema network stability store tracking_uri study_storage
"""
EXIT_CODES = {
    "GansearchError": 1,
    "UserError": 2,
    "ConfigError": 2,
    "NotImportable": 2,
    "DataError": 2,
    "NotGoodEnough": 3,
    "Unreachable": 4,
    "StateConflict": 5,
    "IntegrityError": 6,
}


def commands(command: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, Any]]:
    """Every command that has no commands below it, by its words."""
    below = getattr(command, "commands", None)
    if below is None:
        yield " ".join(path), command
    for name, child in (below or {}).items():
        yield from commands(child, (*path, name))


FOUND = dict(commands(typer.main.get_command(app)))


def test_these_are_the_commands():
    assert list(FOUND) == list(COMMANDS)


@pytest.mark.parametrize("name", COMMANDS)
def test_these_are_a_commands_argument_and_options(name: str):
    argument, options = COMMANDS[name]
    params = FOUND[name].params
    named = [(p.name.upper(), p.required) for p in params if p.param_type_name == "argument"]
    arguments = [word if required else f"[{word}]" for word, required in named]
    assert " ".join(arguments) == argument
    words = [[*p.opts, *p.secondary_opts] for p in params if p.param_type_name == "option"]
    assert words == [[option] for option in options]


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_and_option_says_what_it_does(name: str):
    assert FOUND[name].help
    assert [p.name for p in FOUND[name].params if p.param_type_name == "option" and not p.help] == []


def test_these_are_the_exit_codes():
    tree = {name: kind for name, kind in vars(errors).items() if isinstance(kind, type) and issubclass(kind, Exception)}
    assert {name: kind.exit_code for name, kind in tree.items()} == EXIT_CODES


def test_the_defaults_are_those_of_the_contract():
    defaults = {
        (name, param.name): param.default
        for name, command in FOUND.items()
        for param in command.params
        if param.name in ("alias", "port", "format_", "n", "seed", "out") and name != "search"
    }
    assert defaults[("register", "alias")] == "champion"
    assert (defaults[("ui", "port")], defaults[("sample", "n")], defaults[("sample", "seed")]) == (5000, 64, 0)
    assert {value for (_, param), value in defaults.items() if param == "format_"} == {"table"}


def test_the_console_script_is_the_command_line():
    [script] = entry_points(group="console_scripts", name="gansearch")
    assert script.value == "pipeline.cli:main"


def test_the_schema_is_json_that_a_search_file_can_be_checked_with(capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit) as end:
        app(["config", "schema"])
    assert end.value.code == 0
    schema = json.loads(capsys.readouterr().out)
    assert set(KEYS.split()) <= schema["properties"].keys()
