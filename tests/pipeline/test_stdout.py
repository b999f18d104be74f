"""Nothing but our data reaches stdout, whoever prints and however; a stdout that fails ends a command quietly."""

import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.stdout import stdout_to_stderr
from tests.command_line import environment


def run(words, folder, redirection):
    """Run `gansearch WORDS` with a shell's redirection."""
    return subprocess.run(
        ["/bin/bash", "-c", f"set -o pipefail; {sys.executable} -m pipeline.cli {words} {redirection}"],
        cwd=folder, env=environment(folder), capture_output=True, text=True, check=False,
    )  # fmt: skip


def test_only_data_reaches_stdout_and_everything_is_put_back(capfd: pytest.CaptureFixture[str]):
    before = sys.stdout
    with stdout_to_stderr() as data:
        print("a library's print")
        sys.stdout.flush()
        os.write(1, b"a process's write\n")
        data.write("{}\n")
    assert sys.stdout is before
    os.write(1, b"afterwards\n")
    out, err = capfd.readouterr()
    assert out == "{}\nafterwards\n"
    assert "a library's print" in err
    assert "a process's write" in err


WRITERS = ["--help", "list data", "list data --format json", "config schema", "config show"]  # by rich, JSON and YAML


@pytest.mark.parametrize("words", WRITERS)
def test_a_full_disk_is_told_in_one_line(words, tmp_path):
    done = run(words, tmp_path, "> /dev/full")
    assert done.returncode == 4
    assert done.stderr == "error: stdout cannot be written (No space left on device): the output is not whole\n"


@pytest.mark.parametrize("words", WRITERS)
def test_a_reader_that_leaves_is_no_error(words, tmp_path):
    done = run(words, tmp_path, "| true")
    assert (done.returncode, done.stderr) == (141, "")


def test_a_closed_stdout_takes_nothing(tmp_path):
    done = run("config validate --format json", tmp_path, ">&-")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_talk_does_not_become_data_where_stderr_is_closed(tmp_path):
    done = run("config validate --set steps=0", tmp_path, "2>&-")
    assert (done.returncode, done.stdout) == (2, "")


REAL = """
import json, os, sys
from pipeline.stdout import safe_streams, stdout_to_stderr
from trainers.errors import Unreachable
try:
    with safe_streams(), stdout_to_stderr() as data:
        print("talk")
        opened = os.open(os.devnull, os.O_RDONLY)
        data.write("{}")
except (SystemExit, Unreachable) as error:
    print(type(error).__name__, file=sys.stderr)
print(opened > 2, file=sys.stderr)
"""


@pytest.mark.parametrize(
    ("redirection", "told"), [("> /dev/full", ["Unreachable"]), ("| true", ["SystemExit"]), ("<&- >&-", [])]
)
def test_the_real_stdout_may_fail_behind_stderr_too(redirection, told, tmp_path):
    (tmp_path / "real.py").write_text(REAL)
    command = f"{sys.executable} real.py {redirection}"
    done = subprocess.run(
        ["/bin/bash", "-c", command],
        cwd=tmp_path, env=environment(tmp_path), capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.stderr.splitlines() == ["talk", *told, "True"]
    assert done.stdout == ""


SEARCHES = """
import os, signal, sys
from pipeline.stdout import safe_streams, stdout_to_stderr
with safe_streams(), stdout_to_stderr() as data:
    from pipeline import signals, view
    from pipeline.book import Book
    from tests.fakes import journal
    book = Book()
    book.apply(journal.study())
    with view.Progress() as progress:
        stop = signals.StopRequest(progress.say_at_once)
        print(f"a terminal: {sys.stderr.isatty()}", file=data, flush=True)
        sys.stdin.readline()
        progress.watch(book)
        progress.say("a line " * 100_000)
        signal.raise_signal(signal.SIGTERM)
        progress.watch(book)
    data.write(f"stopped: {stop.made}")
"""


def searches(stderr, leave=lambda: None):
    """What a process writes to stdout that talks to a stderr, and goes on doing so after the one behind it left."""
    command = [sys.executable, "-c", SEARCHES]
    env = environment(Path.cwd(), TERM="xterm-256color", PYTHONUNBUFFERED="")
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=stderr, env=env, text=True
    ) as process:
        os.close(stderr)
        assert process.stdout is not None
        first = process.stdout.readline()
        leave()
        told, _ = process.communicate("\n", timeout=60)
    return process.returncode, first.strip(), told


def test_a_search_goes_on_where_the_disk_of_its_log_is_full():
    assert searches(os.open("/dev/full", os.O_WRONLY)) == (0, "a terminal: False", "stopped: True")


def test_a_search_goes_on_where_the_reader_of_its_talk_is_killed():
    ours, theirs = os.pipe()
    assert searches(theirs, lambda: os.close(ours)) == (0, "a terminal: False", "stopped: True")


def test_a_search_goes_on_where_its_terminal_is_closed():
    ours, theirs = pty.openpty()
    assert searches(theirs, lambda: os.close(ours)) == (0, "a terminal: True", "stopped: True")


def test_talk_that_would_block_is_lost():
    ours, theirs = os.pipe()
    os.set_blocking(theirs, False)
    assert searches(theirs) == (0, "a terminal: False", "stopped: True")
    os.close(ours)


@pytest.mark.parametrize("redirection", ["2> /dev/full", "2> >(true)"])
def test_a_refusal_keeps_its_exit_code_where_it_cannot_be_told(redirection, tmp_path):
    done = run("config validate --set steps=0", tmp_path, redirection)
    assert (done.returncode, done.stdout, done.stderr) == (2, "", "")


OWN = """
from trainers.registry import Variant
MINE = Variant(kind="data", name="mine", summary="", make="x:y")
"""


def test_a_module_in_the_working_directory_is_found_by_the_console_script(tmp_path):
    (tmp_path / "own_data.py").write_text(OWN)
    (tmp_path / "json.py").write_text("raise RuntimeError('shadows the standard library')")
    root = Path(__file__).parents[2]
    script = tmp_path / "bin" / "gansearch"
    script.parent.mkdir()
    script.write_text(f"import sys; sys.path.append({str(root)!r})\nfrom pipeline.cli import main\nmain()")
    env = environment(tmp_path)
    del env["PYTHONPATH"]
    done = subprocess.run(
        [sys.executable, script, "config", "validate", "--set", "data=own_data:MINE"],
        cwd=tmp_path, env=env, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
