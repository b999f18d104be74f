"""celeba: aligned faces of celebrities, cut to squares."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np

from trainers.data import Dataset, cache
from trainers.data.fetching import need
from trainers.data.folder import images_of
from trainers.errors import DataError
from trainers.params.data import CelebaParams

IMAGES, PARTITION = "img_align_celeba", "list_eval_partition.txt"
TRAIN, VALIDATION, HELD_OUT = "0", "1", "2"  # nothing here needs a part for validation
COLOURS = 3
FIELDS = 2  # of a line: a name and a part
SOURCE = "https://mmlab.ie.cuhk.edu.hk/projects/CelebA.html"


def make(params: CelebaParams) -> Dataset:
    """Return CelebA's training part and, held out, its test part (Liu et al. 2015); attributes are not read.

    Raises:
        DataError: a file is missing or not in its format; the message says which belongs where.
    """
    folder = Path(params.root, "celeba")
    need(params, folder, (IMAGES, PARTITION), f"unpacked, of {SOURCE}")
    names, parts = _partition(params, folder / PARTITION)
    paths = [folder / IMAGES / name for name in names]
    held_out = np.array([part == HELD_OUT for part in parts])
    return cache.dataset(
        params,
        [folder / PARTITION, *paths],
        partial(images_of, params, paths, None, held_out, COLOURS),
        metric="sliced_wasserstein",
        licence="non-commercial research only: Z. Liu, P. Luo, X. Wang, X. Tang, CelebA, MMLab, CUHK",
    )


def _partition(params: CelebaParams, path: Path) -> tuple[list[str], list[str]]:
    """Read lines such as `000001.jpg 0`."""
    try:
        text = path.read_text("utf-8", "replace")
    except OSError as error:
        raise DataError(f"data set {params.name}: {path.resolve()} cannot be read ({error})") from error
    rows = [line.split() for line in text.splitlines() if line.strip()]
    seen: set[str] = set()
    for number, row in enumerate(rows, start=1):
        name, part = row if len(row) == FIELDS else ("", "")
        if part not in (TRAIN, VALIDATION, HELD_OUT) or Path(name).name != name or name in seen:
            raise DataError(
                f"data set {params.name}: {path.resolve()}, line {number}, must be a file's name that no line before "
                f"has, and 0, 1 or 2, but is {' '.join(row)[:80]!r}"
            )
        seen.add(name)
    chosen = [row for row in rows if row[1] in (TRAIN, HELD_OUT)]
    return [name for name, _ in chosen], [part for _, part in chosen]
