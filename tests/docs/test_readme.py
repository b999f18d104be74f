"""What the documents say is done: README's commands run in order, options and links exist."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from urllib.error import URLError

import pytest
import typer.main

from pipeline.cli import app
from tests.command_line import ROOT, end, environment, free_port, wait_for
from trainers.registry import known

DOCUMENTS = ("README.md", "CONTRIBUTING.md", "SECURITY.md")
# Added to every search of README: as it stands, but small. The last of two equal options counts.
SMALL = "--steps 120 --set segment_steps=60 --set evaluation.samples=200 --set halving.enabled=false"
TRIALS = (2, 3, 2, 2)  # of README's searches, in order: make search, the extension of it, the user's own two


def _text(name: str) -> str:
    return (ROOT / name).read_text()


def _blocks(name: str) -> list[str]:
    return re.findall(r"^```sh\n(.*?)^```$", _text(name), flags=re.M | re.S)


def _commands(name: str) -> list[str]:
    """Return every command of a document's shell blocks, without its comment."""
    lines = (line.partition(" #")[0].strip() for block in _blocks(name) for line in block.splitlines())
    return [line for line in lines if line]


def _recipe(target: str) -> str:
    """Return the command that a target of the Makefile runs, as one would type it in the environment."""
    found = re.search(rf"^{target}:.*\n\t\$\(BIN\)/(.*)$", _text("Makefile"), flags=re.M)
    assert found is not None, f"the Makefile has no target {target} with one command"
    return found[1]


def _small(commands: list[str]) -> Iterator[str]:
    """Replace `make search` by its own command, make every search small, and let `make test` only collect."""
    trials = iter(TRIALS)
    for command in commands:
        typed = _recipe(command.removeprefix("make ")) if command.startswith("make ") else command
        if typed.startswith("gansearch search"):
            yield f"{typed} {SMALL} --trials {next(trials)}"
        elif "-m pytest" in typed:
            yield f"cd {shlex.quote(str(ROOT))} && {typed} --collect-only --quiet"
        else:
            yield typed
    assert next(trials, None) is None, "README has fewer searches than TRIALS"


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            return answer.status == 200 and "MLflow" in answer.read().decode()
    except (URLError, OSError):
        return False


def _look_at_ui(command: str, folder: Path, env: dict[str, str]) -> None:
    """Start the pages, ask for them, and end them."""
    port = free_port()
    with (folder / "ui.txt").open("w") as talk:
        words = shlex.split(f"{command} --port {port}")
        process = subprocess.Popen(words, cwd=folder, env=env, stdout=talk, stderr=talk, text=True)
    try:
        wait_for(lambda: _answers(f"http://127.0.0.1:{port}"), process)
    finally:
        end(process)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_commands_of_readme_work_in_order(tmp_path: Path) -> None:
    shutil.copytree(ROOT / "examples", tmp_path / "examples")
    (tmp_path / ".venv").symlink_to(sys.prefix)
    env = environment(tmp_path)
    env["PATH"] = f"{Path(sys.executable).parent}:{env['PATH']}"
    commands = list(_small(_commands("README.md")))
    assert len(commands) > 10
    for command in commands:
        if command.startswith("gansearch ui"):
            _look_at_ui(command, tmp_path, env)
            continue
        done = subprocess.run(
            ["bash", "-c", command], cwd=tmp_path, env=env, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, f"{command}\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}"
        if command.startswith("gansearch search examples/digits.yaml"):
            assert "its samples: gansearch-store/studies/digits/best.png\n" in done.stdout, "as README shows it"
    assert (tmp_path / "digits.png").read_bytes().startswith(b"\x89PNG")
    assert (tmp_path / "gansearch-store/studies/digits/best.png").is_file()


@pytest.mark.parametrize("name", DOCUMENTS)
def test_links_lead_somewhere(name: str) -> None:
    targets = re.findall(r"\]\(([^)#]+)\)", _text(name))
    assert [target for target in targets if "://" not in target and not (ROOT / target).exists()] == []


@pytest.mark.parametrize("name", DOCUMENTS)
def test_what_is_named_in_code_type_exists(name: str) -> None:
    """Paths such as `trainers/errors.py`, and targets of make."""
    code = re.findall(r"`([^`\n]+)`", _text(name))
    paths = [
        text for text in code if re.fullmatch(r"(trainers|pipeline|search_spaces|tests|benchmarks)/[a-z_/.]*", text)
    ]
    assert [path for path in paths if not (ROOT / path).exists()] == []
    for target in [text.removeprefix("make ") for text in code if re.fullmatch(r"make [a-z-]+", text)]:
        assert re.search(rf"^{target}:", _text("Makefile"), flags=re.M), f"no make {target}"


@pytest.mark.parametrize("name", DOCUMENTS)
def test_every_command_and_option_that_is_named_exists(name: str) -> None:
    root = typer.main.get_command(app)
    named = [*re.findall(r"`(gansearch [^`\n]+)`", _text(name)), *_commands(name)]
    for line in (text for text in named if text.startswith("gansearch ") and text != "gansearch --help"):
        words = shlex.split(line)[1:]
        command = root
        while words and hasattr(command, "commands"):
            assert words[0] in command.commands, line
            command = command.commands[words.pop(0)]
        known = {option for parameter in command.params for option in parameter.opts}
        assert {word for word in words if word.startswith("-")} <= known, line


def test_readme_counts_what_there_is() -> None:
    text = " ".join(_text("README.md").split())
    counts = {kind: len(known(kind)) for kind in ("objective", "penalty", "data", "detector")}
    assert f"{counts['objective']} objectives (" in text
    assert f"{counts['penalty'] - 1} penalties beside clipping" in text  # one of them is none
    assert f"{counts['data']} data sets from" in text
    assert text.count(f"{counts['detector']} detectors") == 2  # where they are introduced, and in the comparison


def test_readme_has_all_of_its_figures() -> None:
    assert re.findall(r"<!-- figures: (.*?) -->", _text("README.md")) == []
