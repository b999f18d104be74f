"""Blobs by digest and create-if-absent names, on a disk or an object store.

A store holds two sorts of things. An *object* has a name that is made once and never changes: `create` refuses a second
one, and that refusal is all the coordination that drivers have. A *blob* is named by the SHA-256 of its bytes. Both are
durable when the call that writes them returns.
"""

from __future__ import annotations

import os
from pathlib import Path
from urllib.parse import unquote, urlsplit

from pipeline.disk_store import DiskStore
from pipeline.store_port import MissingObject, NameTaken, Store
from trainers.errors import ConfigError, Unreachable

__all__ = ["DiskStore", "MissingObject", "NameTaken", "Store", "open_store"]


def open_store(uri: str | Path, *, create: bool = True) -> Store:
    """Open the store at `uri`.

    Args:
        uri: a directory, as a path or a file:// URI, or s3://bucket/prefix; how S3 is reached, the AWS_* environment
            says.
        create: begin the store where it is missing, and see that it can be written; False only reads.

    Raises:
        ConfigError: the URI has another scheme, or is no path that can be.
        Unreachable: it is missing, no directory, or cannot be read or written.
    """
    if str(uri).startswith("s3://"):
        from pipeline.object_store import ObjectStore

        bucket = ObjectStore(str(uri))
        bucket.prepare() if create else bucket.look()
        return bucket
    return _open_directory(_path(uri), create)


def _open_directory(path: Path, create: bool) -> DiskStore:
    mend = "name another directory with --store"
    store = DiskStore(path)
    try:
        if path.exists() and not path.is_dir():
            raise Unreachable(f"the store {path} must be a directory, but is a file; {mend}")
        if create:
            store.prepare()
        elif not path.exists():
            raise Unreachable(f"there is no store at {path}; {mend}, or begin one with `gansearch search`")
    except OSError as error:
        use, needs = ("written", f"{mend}, with hard links") if create else ("read", mend)
        raise Unreachable(f"the store {path} cannot be {use} ({error.strerror or error}); {needs}") from error
    return store


def _path(uri: str | Path) -> Path:
    text = str(uri)
    try:
        path = _directory(text)
        os.fsencode(path)
        return path.absolute()
    except ValueError as error:  # one that cannot be encoded, too
        raise ConfigError(f"store must be a path, but got store={text!r}: {error}") from error
    except OSError as error:
        raise Unreachable(f"the working directory cannot be read ({error.strerror}): run in another") from error


def _directory(text: str) -> Path:
    if "://" not in text:
        try:
            path = Path(text).expanduser()
        except RuntimeError:
            raise ValueError("nobody has that home directory") from None
    else:
        parts = urlsplit(text)
        if parts.scheme != "file" or parts.netloc not in ("", "localhost"):
            raise ConfigError(f"store must be a path, a file:// URI or s3://bucket/prefix, but got store={text!r}")
        path = Path(unquote(parts.path))
    if "\0" in str(path):
        raise ValueError("a path holds no NUL byte")
    return path
