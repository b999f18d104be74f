"""Packages of a user's own, installed as far as Python can tell."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

ROOT = Path(__file__).parents[2]


def install(folder: Path, name: str, points: Mapping[str, Mapping[str, str]], version: str = "1.0") -> None:
    """Write down a package whose modules are in a folder, with its entry points by their group."""
    info = folder / f"{name}-{version}.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    groups = [f"[{group}]\n" + "".join(f"{n} = {v}\n" for n, v in rows.items()) for group, rows in points.items()]
    (info / "entry_points.txt").write_text("\n".join(groups))


def printed(folder: Path, code: str) -> list[str]:
    """Return the lines that code prints in a Python of its own, where what is in the folder is installed."""
    paths = f"import sys; sys.path[:0] = [{str(ROOT)!r}, {str(folder)!r}]\n"
    done = subprocess.run([sys.executable, "-c", paths + code], capture_output=True, text=True, check=True)
    return done.stdout.splitlines()
