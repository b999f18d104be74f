"""Runs the command line as a user does: a process of its own, whose environment holds nothing of ours."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

import psutil

ROOT = Path(__file__).parents[1]
TIMEOUT = 240.0  # seconds: never waited for, unless something is broken
_FOREIGN = ("RAY_", "MLFLOW_", "GANSEARCH_", "COLUMNS", "NO_COLOR", "FORCE_COLOR", "PYTHONPATH")

Done = subprocess.CompletedProcess[str]
T = TypeVar("T")


def environment(home: Path, **more: str) -> dict[str, str]:
    """Return an environment without the settings of whoever runs the tests."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith(_FOREIGN)}
    return kept | {"PYTHONPATH": str(ROOT), "HOME": str(home), "COLUMNS": "200"} | more


def gansearch(*args: str | Path, cwd: Path, **env: str) -> Done:
    """Run `gansearch ARGS` in a folder, which is the home directory too, and wait for its end."""
    return subprocess.run(
        [sys.executable, "-m", "pipeline.cli", *map(str, args)],
        cwd=cwd, env=environment(cwd, **env), capture_output=True, text=True, timeout=TIMEOUT, check=False,
    )  # fmt: skip


def together(*commands: Callable[[], Done]) -> list[Done]:
    """Run commands two at a time, and return what became of them in their order."""
    with ThreadPoolExecutor(2) as pool:
        return [done.result() for done in [pool.submit(command) for command in commands]]


def begin(*args: str | Path, cwd: Path, fault: dict[str, Any] | None = None, **env: str) -> subprocess.Popen[str]:
    """Begin `gansearch ARGS` in a session of its own; its talk goes to files, since nobody reads a pipe meanwhile.

    With a fault, it is one to which that happens: see tests/faults/drive.py.
    """
    module = ["pipeline.cli"] if fault is None else ["tests.faults.drive", json.dumps(fault)]
    with (cwd / "stdout.txt").open("w") as out, (cwd / "stderr.txt").open("w") as err:
        return subprocess.Popen(
            [sys.executable, "-m", *module, *map(str, args)],
            cwd=cwd, env=environment(cwd, **env), stdout=out, stderr=err, text=True, start_new_session=True,
        )  # fmt: skip


def document(done: Done, code: int = 0) -> Any:
    """Return the one JSON document on stdout without its `schema`, after a look at that and at the exit code."""
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr, done.stderr
    told = json.loads(done.stdout)
    assert next(iter(told)) == "schema"
    assert told.pop("schema") == 1
    return told


def refusal(done: Done, code: int) -> str:
    """Return the message of a command that refused; its stdout is empty and it shows no traceback."""
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""
    return done.stderr


def wait_for(condition: Callable[[], T], process: subprocess.Popen[str] | None = None) -> T:
    """Wait until a condition comes true, but not longer than the process that should bring it about lives.

    Returns:
        What the condition returned in the end.
    """
    deadline = time.monotonic() + TIMEOUT
    while not (found := condition()):
        assert process is None or process.poll() is None, f"ended with {process.returncode} before its condition"
        assert time.monotonic() < deadline, "the condition did not come true"
        time.sleep(0.02)
    return found


def descendants(pid: int) -> list[psutil.Process]:
    """Return all processes that a process has started, and those that they have."""
    return psutil.Process(pid).children(recursive=True)


def alive(process: psutil.Process) -> bool:
    """Whether a process runs; one that has ended, but whose parent has not noticed, does not."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def end(process: subprocess.Popen[str]) -> None:
    """End a process that a test has begun, and whatever it has started."""
    started = [] if process.poll() is not None else descendants(process.pid)
    process.kill()
    process.wait(TIMEOUT)
    for child in filter(alive, started):
        with suppress(psutil.NoSuchProcess):  # it has ended meanwhile
            child.kill()


def free_port() -> int:
    """Return a port of this machine on which nobody listens now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
