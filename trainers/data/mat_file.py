"""Reads arrays of one of MATLAB's files in a process of its own: SciPy's reader can crash on a damaged file."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray


def read(path: Path, names: tuple[str, ...]) -> list[NDArray[Any]]:
    """Return arrays by their names, none of objects.

    Raises:
        ValueError: it is not in the format, is damaged, or lacks one; the text says what is wrong.
    """
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-P", __file__, str(path.resolve()), folder, *names]
        done = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)  # noqa: S603
        if done.returncode < 0:
            raise ValueError(f"its reader died of signal {-done.returncode}: it is damaged")
        if done.returncode > 0:
            raise ValueError((done.stderr.strip().splitlines() or ["its reader failed"])[-1])
        return [np.load(Path(folder, f"{name}.npy"), allow_pickle=False) for name in names]


def _main(path: str, folder: str, *names: str) -> None:
    from scipy.io import loadmat

    content = loadmat(path, variable_names=names)
    for name in names:
        np.save(Path(folder, f"{name}.npy"), np.asarray(content[name]), allow_pickle=False)


if __name__ == "__main__":
    _main(*sys.argv[1:])
