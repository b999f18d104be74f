"""Files of published sets that are not there: which belong where, or how they are fetched."""

from __future__ import annotations

import fcntl
import shutil
import socket
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from http.client import HTTPException
from pathlib import Path
from typing import Any

from trainers.errors import DataError
from trainers.params.data import VisionParams

CIFAR10_URL = "https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz"
CIFAR10_MD5 = "c32a1d4ab5d03f1284b67883e8d87530"  # of the archive, by its authors
PATIENCE = 60.0  # seconds without a byte
LOCK, DRAFT = ".fetching.lock", ".fetching"  # in the root
# What torchvision's downloads raise where there is no network, a file was moved, or an archive is another one.
UNFETCHED = (
    OSError, RuntimeError, ValueError, EOFError, HTTPException, zlib.error, zipfile.BadZipFile, tarfile.TarError,
)  # fmt: skip


def need(params: VisionParams, folder: Path, names: Sequence[str], about: str, *, patience: float = PATIENCE) -> None:
    """Make sure of files, by fetching them if the user wants that.

    Of several processes one fetches, and a file has its name once it is whole.

    Args:
        params: of the data set.
        folder: that they belong into, below `params.root`.
        names: of files, or of folders.
        about: says of what version or form they must be.
        patience: seconds that a server may be silent.

    Raises:
        DataError: some are missing, and are not to be fetched, or cannot be.
    """
    missing = _missing(folder, names)
    if not missing:
        return
    root = Path(params.root)
    below = folder.relative_to(root)
    if not params.download:
        holder = f"the folder that holds {below}" if below.parts else "their folder"
        raise DataError(
            f"data set {params.name}: put {', '.join(missing)} ({about}) into {folder.resolve()}, or set data.root to "
            f"{holder}, or data.download: true to fetch them"
        )
    try:
        with _alone(root) as draft, _impatient(patience):
            if missing := _missing(folder, names):  # nobody has fetched them meanwhile
                _FETCH[params.name](str(draft))
                missing = _taken(draft / below, folder, missing)
    except UNFETCHED as error:
        raise DataError(
            f"data set {params.name}: {', '.join(missing)} cannot be fetched into {folder.resolve()} ({error!r}); "
            f"put them there ({about})"
        ) from error
    if missing:
        raise DataError(
            f"data set {params.name}: {', '.join(missing)} did not come with what was fetched; put them into "
            f"{folder.resolve()} ({about})"
        )


def _missing(folder: Path, names: Sequence[str]) -> list[str]:
    return [name for name in names if not (folder / name).exists()]


@contextmanager
def _alone(root: Path) -> Iterator[Path]:
    """Give an empty folder to fetch into, to one process at a time; the lock of one that dies is free."""
    root.mkdir(parents=True, exist_ok=True)
    with (root / LOCK).open("ab") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        draft = root / DRAFT
        shutil.rmtree(draft, ignore_errors=True)  # of a process that died
        draft.mkdir()
        try:
            yield draft
        finally:
            shutil.rmtree(draft, ignore_errors=True)


@contextmanager
def _impatient(patience: float) -> Iterator[None]:
    """Let no new socket of this process wait for ever: torchvision gives its own no time limit."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(patience)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)


def _taken(draft: Path, folder: Path, names: Sequence[str]) -> list[str]:
    """Move what was fetched to where it belongs, and return what was not."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        if (draft / name).exists():
            (draft / name).rename(folder / name)
    return _missing(folder, names)


# -- sources -----------------------------------------------------------------------------------------------------------


def _fetch(source: str, **arguments: Any) -> Callable[[str], None]:
    """Return what lets torchvision fetch a set; it compares the files with their authors' MD5 sums."""

    def fetch(root: str) -> None:
        from torchvision import datasets

        getattr(datasets, source)(root, download=True, **arguments)

    return fetch


def _fetch_cifar10(root: str) -> None:
    from torchvision.datasets.utils import download_and_extract_archive

    download_and_extract_archive(CIFAR10_URL, root, md5=CIFAR10_MD5)


def _fetch_svhn(root: str) -> None:
    from torchvision.datasets import SVHN
    from torchvision.datasets.utils import download_url

    for split in ("train", "test"):  # SVHN itself would read them, too
        url, name, md5 = SVHN.split_list[split]
        download_url(url, root, name, md5)


_FETCH: dict[str, Callable[[str], None]] = {
    "mnist": _fetch("MNIST"),
    "fashion_mnist": _fetch("FashionMNIST"),
    "kmnist": _fetch("KMNIST"),
    "cifar10": _fetch_cifar10,
    "svhn": _fetch_svhn,
    "celeba": _fetch("CelebA"),
}
