"""Other processes, and the places that they can open too: a store on the disk and one in a bucket."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
BOTH = pytest.mark.parametrize("uri", ["disk", "s3"], indirect=True)


@pytest.fixture
def uri(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Where a store is. A module that uses this imports `s3_server` and `s3_uri` too."""
    return str(request.getfixturevalue("s3_uri")) if request.param == "s3" else (tmp_path / "a store").as_uri()


def start(code: str, *arguments: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", code, *arguments]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)


def line(process: subprocess.Popen[str]) -> str:
    """Return the next line that it prints."""
    assert process.stdout is not None
    return process.stdout.readline().strip()


def kill(process: subprocess.Popen[str]) -> None:
    """End it; may be called twice."""
    process.kill()
    process.wait()
    if process.stdout is not None:
        process.stdout.close()


def files(path: Path) -> set[str]:
    return {found.relative_to(path).as_posix() for found in path.rglob("*") if found.is_file()}
