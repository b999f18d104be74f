"""Blobs by digest and create-if-absent names, on a disk or an object store.

A store holds two sorts of things. An *object* has a name that is made once and never changes: `create` refuses a second
one, and that refusal is all the coordination that drivers have. A *blob* is named by the SHA-256 of its bytes. Both are
durable when the call that writes them returns.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import socket
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from typing import Protocol
from urllib.parse import unquote, urlsplit
from uuid import uuid4

from trainers.errors import ConfigError, GansearchError, IntegrityError, StateConflict, Unreachable

_SEGMENT = re.compile(r"[A-Za-z0-9._-]{1,200}")
_DIGEST = re.compile(r"[0-9a-f]{64}")
_RESERVED = ("blobs", "locks")  # folders of a DiskStore
_TEMPORARY = "~"  # not allowed in a name, so that what a crash leaves behind is never listed


class NameTaken(GansearchError):
    """An object of that name exists already."""


class MissingObject(GansearchError):
    """No object has that name."""


class Store(Protocol):
    """Where a study's ledger and its blobs lie."""

    @property
    def uri(self) -> str:
        """What `open_store` turns into this store again, in any working directory."""

    def create(self, name: str, data: bytes) -> None:
        """Make an object; it is whole and durable on return, and was never seen in part.

        Args:
            name: segments of letters, digits, '.', '_' and '-' with '/' between them.
            data: its content.

        Raises:
            NameTaken: the name exists; its content stays as it is.
            ConfigError: the name is not of that form.
            Unreachable: the store cannot be written.
        """

    def read(self, name: str) -> bytes:
        """Return an object's content.

        Raises:
            MissingObject: there is no such object.
        """

    def names(self, prefix: str) -> list[str]:
        """Return the sorted full names of all objects under the folder `prefix`, at any depth."""

    def put(self, data: bytes) -> str:
        """Keep a blob and return its SHA-256 as hex; it is durable on return, and putting it again changes nothing."""

    def get(self, digest: str) -> bytes:
        """Return a blob's bytes.

        Raises:
            IntegrityError: it is missing, or its bytes do not have that digest.
        """

    def discard(self, digest: str) -> None:
        """Remove a blob, if it is there."""

    def lock(self, study: str) -> AbstractContextManager[None]:
        """Hold a study exclusively while the context lasts; the death of the process frees it.

        Raises:
            StateConflict: a living driver holds it.
        """


def open_store(uri: str | Path, *, create: bool = True) -> DiskStore:
    """Open the store at `uri`.

    Args:
        uri: a directory, as a path or a file:// URI.
        create: make the directory where it is missing, and see that it can be written; False only reads.

    Raises:
        ConfigError: the URI has another scheme.
        Unreachable: it is missing, no directory, or cannot be written.
    """
    path = _path(uri)
    mend = "name another directory with --store"
    if path.exists() and not path.is_dir():
        raise Unreachable(f"the store {path} must be a directory, but is a file; {mend}")
    if not create and not path.exists():
        raise Unreachable(f"there is no store at {path}; {mend}, or begin one with `gansearch search`")
    store = DiskStore(path)
    if create:
        try:
            store.prepare()
        except OSError as error:
            why = error.strerror or error
            raise Unreachable(f"the store {path} cannot be written ({why}); {mend}, with hard links") from error
    return store


def _path(uri: str | Path) -> Path:
    text = str(uri)
    if "://" not in text:
        return Path(text).expanduser().absolute()
    parts = urlsplit(text)
    if parts.scheme != "file" or parts.netloc not in ("", "localhost"):
        raise ConfigError(f"store must be a path or a file:// URI, but got store={text!r}")
    return Path(unquote(parts.path))


def is_segment(text: str) -> bool:
    """Whether `text` may be a name, or a part of one between two '/'."""
    return _SEGMENT.fullmatch(text) is not None and text not in (".", "..")


def checked_name(name: str, *, reserved: tuple[str, ...] = _RESERVED) -> str:
    """Return `name` if it may name an object, else raise ConfigError."""
    segments = name.split("/")
    if not all(map(is_segment, segments)) or segments[0] in reserved:
        rule = "must be segments of 1 to 200 letters, digits, '.', '_' and '-', none of them '.' or '..'"
        raise ConfigError(f"a stored name {rule}, and not begin with {' or '.join(_RESERVED)}, but got {name!r}")
    return name


@contextmanager
def _reachable(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        why = error.strerror or error
        mend = "see to the disk's space and permissions, then run the same command again"
        raise Unreachable(f"{path} cannot be read or written ({why}); {mend}") from error


def _unless_missing(error: OSError) -> None:
    if not isinstance(error, FileNotFoundError):
        raise error


def _sync(folder: Path) -> None:
    """Make the names in a folder durable."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


class DiskStore:
    """A store in a directory: objects by their names, blobs/ab/abcdef..., and the drivers' locks/."""

    def __init__(self, path: Path) -> None:
        self.path = path.absolute()
        self._durable = {self.path}  # folders whose own names are known to be durable

    @property
    def uri(self) -> str:
        """The directory as a file:// URI."""
        return self.path.as_uri()

    def prepare(self) -> None:
        """Make the directory, and try in it what the store relies on.

        Raises:
            OSError: it cannot be made or written, or its file system has no hard links.
        """
        made = [folder for folder in (self.path, *self.path.parents) if not folder.exists()]
        self.path.mkdir(parents=True, exist_ok=True)
        for folder in made:
            _sync(folder.parent)
        probe = self.path / f"probe{_TEMPORARY}{uuid4().hex}"
        self._publish(probe, b"")
        probe.unlink()

    def create(self, name: str, data: bytes) -> None:
        """See `Store.create`."""
        target = self.path / checked_name(name)
        with _reachable(target):
            self._make(target.parent)
            try:
                self._publish(target, data)
            except FileExistsError:
                raise NameTaken(f"{name} exists already in {self.uri}") from None
            _sync(target.parent)

    def read(self, name: str) -> bytes:
        """See `Store.read`."""
        target = self.path / checked_name(name)
        with _reachable(target):
            try:
                return target.read_bytes()
            except (FileNotFoundError, IsADirectoryError, NotADirectoryError):
                raise MissingObject(f"there is no object {name} in {self.uri}") from None

    def names(self, prefix: str) -> list[str]:
        """See `Store.names`."""
        top = self.path / checked_name(prefix)
        found = []
        with _reachable(top):
            for folder, _, files in os.walk(top, onerror=_unless_missing):
                inside = Path(folder).relative_to(self.path).as_posix()
                found += [f"{inside}/{file}" for file in files if _TEMPORARY not in file]
        return sorted(found)

    def put(self, data: bytes) -> str:
        """See `Store.put`."""
        digest = hashlib.sha256(data).hexdigest()
        target = self._blob(digest)
        with _reachable(target):
            self._make(target.parent)
            if not target.exists() or target.stat().st_size != len(data):
                target.unlink(missing_ok=True)  # of a wrong size: damaged since
                with suppress(FileExistsError):  # another process put the same bytes meanwhile
                    self._publish(target, data)
            _sync(target.parent)  # also for one that is there: whoever put it may not have come so far
        return digest

    def get(self, digest: str) -> bytes:
        """See `Store.get`."""
        target = self._blob(digest)
        with _reachable(target):
            try:
                data = target.read_bytes()
            except FileNotFoundError:
                raise IntegrityError(f"blob {digest} is missing from {self.uri}") from None
        if hashlib.sha256(data).hexdigest() != digest:
            raise IntegrityError(f"blob {digest} in {self.uri} is corrupt: its {len(data)} bytes have another digest")
        return data

    def discard(self, digest: str) -> None:
        """See `Store.discard`."""
        target = self._blob(digest)
        with _reachable(target):
            target.unlink(missing_ok=True)

    @contextmanager
    def lock(self, study: str) -> Iterator[None]:
        """See `Store.lock`; the kernel frees a file lock with its process, so none is ever stale."""
        path = self.path / "locks" / checked_name(study, reserved=())
        with _reachable(path):
            self._make(path.parent)
            file = path.open("a+")
        with file:
            with _reachable(path):
                try:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    who = path.read_text() or "another process"
                    raise StateConflict(f"study {study!r} is in use by {who}; wait for its end, or stop it") from None
                file.truncate(0)
                file.write(f"process {os.getpid()} on {socket.gethostname()}")
                file.flush()
            try:
                yield
            finally:
                fcntl.flock(file, fcntl.LOCK_UN)  # a forked child may still hold the file open

    def _blob(self, digest: str) -> Path:
        if not _DIGEST.fullmatch(digest):
            raise IntegrityError(f"a blob's name must be a SHA-256 in hex, but got {digest!r}")
        return self.path / "blobs" / digest[:2] / digest

    def _make(self, folder: Path) -> None:
        """Make a folder and its parents, each durable in its parent; a new process does not trust an old one's."""
        if folder not in self._durable:
            self._make(folder.parent)
            folder.mkdir(exist_ok=True)
            _sync(folder.parent)
            self._durable.add(folder)

    def _publish(self, target: Path, data: bytes) -> None:
        """Give durable content a name that must be new; the name itself is not durable yet."""
        temporary = target.with_name(f"{target.name}{_TEMPORARY}{uuid4().hex}")
        try:
            with temporary.open("xb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            os.link(temporary, target)
        finally:
            temporary.unlink(missing_ok=True)
