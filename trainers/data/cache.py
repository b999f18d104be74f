"""Images that are decoded once a machine, into files that every process maps: larger than memory, and shared."""

from __future__ import annotations

import fcntl
import hashlib
import json
import mmap
import os
import shutil
import stat
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from trainers.data import Dataset
from trainers.errors import DataError
from trainers.params.data import CachedParams

VERSION = 4  # of how images are decoded, and of these files: another one is another cache
PARTS = ("train", "held_out")
ABOUT = "about.json"
ELSEWHERE = {"cache", "root", "download"}  # parameters that say where; `root` counts as the folder that it means
BLOCK = 256  # images at a time
BLACK_TO_WHITE = 255.0
LEAST = 2  # images a part: a score needs a covariance
NORESERVE = 0x4000 if sys.platform == "linux" else 0  # MAP_NORESERVE, which mmap of Python 3.11 lacks

Bytes = NDArray[np.uint8]
Labels = NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class Images:
    """What is to be decoded.

    Attributes:
        shape: of one image (channels, height, width).
        held_out: bool [n], which of them are held out.
        blocks: images, uint8 [b, *shape], and their labels, int64 [b] or None; in the order of `held_out`.
    """

    shape: tuple[int, ...]
    held_out: NDArray[np.bool_]
    blocks: Iterator[tuple[Bytes, Labels | None]]


class _About(BaseModel):
    """What an entry holds, so that no process but the first reads all of it."""

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid")

    labelled: bool
    digest: str | None = Field(pattern="^[0-9a-f]{64}$")
    times: dict[str, int] = Field(default_factory=dict)  # nanoseconds, of each file's last change


def dataset(
    params: CachedParams, files: Iterable[Path], find: Callable[[], Images], *, metric: str, licence: str
) -> Dataset:
    """Return a data set whose images lie in mapped files, decoded now if no process of this machine has before.

    The files' names, sizes and times of change name the cache, so that a change to any of them is seen. float32 takes
    four bytes where the images took one; pages are shared by all processes, and read when they are needed: the range
    and the digest of all of them are looked at by the process that decodes, and again where a file was changed since.

    Args:
        params: of the data set; its `cache` says where.
        files: that the images come from.
        find: tells what is to be decoded; called only where it has not been.
        metric: of the data set.
        licence: of the data set.

    Raises:
        DataError: a file is missing, an image cannot be read, or the cache cannot be written or is not ours.
    """
    home = _home(params)
    entry = home / _key(params, files)
    opened = partial(_opened, params, metric=metric, licence=licence)
    if not entry.is_dir():  # a whole one may lie where this user cannot write
        with _alone(params, home, entry.name):
            if not entry.is_dir():
                _fill(params, entry, find(), opened)
    about = _about(params, entry)
    if about.times != _times(entry):  # copied, or written to since: then all of it is read again
        try:
            found = opened(entry, about.model_copy(update={"digest": None})).digest
        except DataError as error:
            raise _damaged(params, entry, str(error)) from error
        if found != about.digest:
            raise _damaged(params, entry, "its numbers are not those that were written")
    return opened(entry, about)


def _opened(params: CachedParams, folder: Path, about: _About, *, metric: str, licence: str) -> Dataset:
    labelled = about.labelled
    return Dataset(
        name=params.name,
        train=_mapped(params, folder / "train.npy"),
        held_out=_mapped(params, folder / "held_out.npy"),
        train_labels=_labels(params, folder / "train_labels.npy") if labelled else None,
        held_out_labels=_labels(params, folder / "held_out_labels.npy") if labelled else None,
        metric=metric,
        licence=licence,
        known=about.digest,
    )


def scaled(images: Bytes) -> NDArray[np.float32]:
    """Return bytes from 0 to 255 as float32 from -1 to 1."""
    floats = images.astype(np.float32, order="C")  # as files and digests have it
    floats /= BLACK_TO_WHITE / 2
    floats -= 1
    return floats


# -- where it lies -----------------------------------------------------------------------------------------------------


def _home(params: CachedParams) -> Path:
    """Return the cache's folder, which is ours alone: what others write there would be our data."""
    home = Path(params.cache) if params.cache else Path(tempfile.gettempdir(), f"gansearch-data-{os.getuid()}")
    try:
        home.mkdir(mode=0o777 if params.cache else 0o700, parents=True, exist_ok=True)
        found = home.stat() if params.cache else home.lstat()
    except OSError as error:
        raise DataError(f"data set {params.name}: the cache cannot be made ({error}); set data.cache") from error
    writable = found.st_mode & (stat.S_IWGRP | stat.S_IWOTH)
    if not params.cache and (not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or writable):
        raise DataError(
            f"data set {params.name}: the cache {home} must be a folder that only this user writes to; set data.cache"
        )
    return home


def _key(params: CachedParams, files: Iterable[Path]) -> str:
    root = str(Path(params.root).absolute())  # names below it are classes, and say what is held out
    decoders = [VERSION, version("pillow"), version("pyarrow")]
    about_all = json.dumps([decoders, params.model_dump(mode="json", exclude=ELSEWHERE), root])
    digest = hashlib.blake2b(about_all.encode(), digest_size=16)
    for path in files:
        try:
            about = path.stat()
        except OSError as error:
            raise DataError(f"data set {params.name}: {path.absolute()} is missing ({error.strerror})") from error
        if not stat.S_ISREG(about.st_mode):
            raise DataError(f"data set {params.name}: {path.absolute()} is no file that can be read; remove it")
        times = [about.st_mtime_ns, about.st_ctime_ns]  # unpacking may set the first to what it was, never the second
        digest.update(json.dumps([str(path.absolute()), about.st_size, times]).encode())
    return f"{params.name}-{digest.hexdigest()}"


@contextmanager
def _alone(params: CachedParams, home: Path, name: str) -> Iterator[None]:
    """Let one process decode while the others wait; the lock of one that dies is free."""
    with ExitStack() as stack:
        try:
            lock = stack.enter_context((home / f"{name}.lock").open("ab"))
            fcntl.flock(lock, fcntl.LOCK_EX)
        except OSError as error:
            raise DataError(f"data set {params.name}: no lock in the cache ({error}); set data.cache") from error
        yield


# -- what it holds -----------------------------------------------------------------------------------------------------


def _fill(params: CachedParams, entry: Path, images: Images, opened: Callable[[Path, _About], Dataset]) -> None:
    """Write under another name and rename: an entry is whole or is not there."""
    num_held_out = int(images.held_out.sum())
    if not LEAST <= num_held_out <= len(images.held_out) - LEAST:
        raise DataError(
            f"data set {params.name}: both parts must hold {LEAST} images, but of {len(images.held_out)} images "
            f"{num_held_out} are held out; add images, or change the share that is held out"
        )
    draft = entry.with_suffix(".part")
    shutil.rmtree(draft, ignore_errors=True)  # of a process that died
    try:
        draft.mkdir()
        labelled = _write(draft, images)
        digest = opened(draft, _About(labelled=labelled, digest=None)).digest
        about = _About(labelled=labelled, digest=digest, times=_times(draft))
        (draft / ABOUT).write_text(about.model_dump_json(), "ascii")
        _sync(draft / ABOUT)
        _sync(draft)
        draft.rename(entry)
        _sync(entry.parent)
    except OSError as error:
        raise DataError(
            f"data set {params.name}: the cache cannot be written ({error}); free space there, or set data.cache"
        ) from error
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def _write(folder: Path, images: Images) -> bool:
    """Write the parts, and return whether there are labels."""
    seen, labels = 0, []
    with ExitStack() as stack:
        files = [stack.enter_context((folder / f"{part}.npy").open("wb")) for part in PARTS]
        masks = (~images.held_out, images.held_out)
        for file, mask in zip(files, masks, strict=True):
            _header(file, (int(mask.sum()), *images.shape))
        for block, told in images.blocks:
            for file, mask in zip(files, masks, strict=True):
                file.write(scaled(block[mask[seen : seen + len(block)]]).data)
            seen += len(block)
            labels += [] if told is None else [told]
        for file in files:
            file.flush()
            os.fsync(file.fileno())
    assert seen == len(images.held_out), f"{seen} images came, not {len(images.held_out)}"  # noqa: S101
    if labels:
        for part, mask in zip(PARTS, masks, strict=True):
            np.save(folder / f"{part}_labels.npy", np.concatenate(labels)[mask], allow_pickle=False)
            _sync(folder / f"{part}_labels.npy")
    return bool(labels)


def _times(folder: Path) -> dict[str, int]:
    return {path.name: path.stat().st_mtime_ns for path in sorted(folder.glob("*.npy"))}


def _header(file: IO[bytes], shape: tuple[int, ...]) -> None:
    """Begin a .npy file that is written piece by piece: a full disk is then an error, and no dead process."""
    about = {"descr": np.lib.format.dtype_to_descr(np.dtype(np.float32)), "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_2_0(file, about)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _about(params: CachedParams, entry: Path) -> _About:
    try:
        found = _About.model_validate_json((entry / ABOUT).read_bytes())
    except (OSError, ValueError) as error:
        raise _damaged(params, entry, f"{ABOUT} is not what was written: {type(error).__name__}") from error
    if found.digest is None:
        raise _damaged(params, entry, f"{ABOUT} has no digest")
    return found


def _mapped(params: CachedParams, path: Path) -> NDArray[Any]:
    """Map a file copy-on-write: torch warns of arrays that it may not write to, and nobody writes to this one.

    No memory is reserved for the copies that nobody makes, or Linux would refuse a file that is larger than memory.
    """
    try:
        with path.open("rb") as file:
            np.lib.format.read_magic(file)
            shape, _, dtype = np.lib.format.read_array_header_2_0(file)
            start = file.tell()
            pages = mmap.mmap(file.fileno(), 0, flags=mmap.MAP_PRIVATE | NORESERVE)
        return np.ndarray(shape, dtype, buffer=pages, offset=start)
    except (OSError, ValueError, TypeError, EOFError) as error:
        raise _damaged(params, path.parent, repr(error)) from error


def _labels(params: CachedParams, path: Path) -> Labels:
    try:
        found: Labels = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise _damaged(params, path.parent, repr(error)) from error
    return found


def _damaged(params: CachedParams, entry: Path, why: str) -> DataError:
    return DataError(f"data set {params.name}: the cache is damaged ({why}); remove {entry} to have it made anew")
