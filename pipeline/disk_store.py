"""A store in a directory: objects by their names, blobs/ab/abcdef..., aside/ and the machine's locks/."""

from __future__ import annotations

import hashlib
import logging
import os
import re
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from uuid import uuid4

from pipeline.machine import alive, guard_file, machine
from pipeline.store_port import MissingObject, NameTaken, checked_digest, checked_name
from trainers.errors import IntegrityError, Unreachable

_TEMPORARY = "~"  # not allowed in a name, so that what a crash leaves behind is never listed
_LEFT = re.compile(r".*~([0-9a-f]{12})~(\d+)~[0-9a-f]{12}", re.DOTALL)  # name, machine, process, random
_DAY = 86_400.0  # seconds
_SWEPT = ("blobs", "studies")  # where writers are; what else lies beside them is somebody else's
_log = logging.getLogger(__name__)


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


def _tell(error: OSError) -> None:
    if not isinstance(error, FileNotFoundError):  # its writer, or another sweep, was quicker
        _log.warning("%s was not swept, and stays as it is: %s", error.filename, error.strerror)


def _sync(folder: Path) -> None:
    """Make the names in a folder durable."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def _written(target: Path, data: bytes) -> Iterator[Path]:
    """Write durable content to a temporary file beside its target, and remove that in the end, if it is there."""
    temporary = target.with_name(f"{target.name}{_TEMPORARY}{machine()}~{os.getpid()}~{uuid4().hex[:12]}")
    try:
        with temporary.open("xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        yield temporary
    finally:
        temporary.unlink(missing_ok=True)


def _publish(target: Path, data: bytes) -> None:
    """Give durable content a name that must be new; the name itself is not durable yet."""
    with _written(target, data) as temporary:
        os.link(temporary, target)


def _overwrite(target: Path, data: bytes) -> None:
    """Give durable content a name, which may have had another; the name itself is not durable yet."""
    with _written(target, data) as temporary:
        temporary.replace(target)


def _half_written(path: Path) -> bool:
    """Whether a file is what a writer left behind that will not come back to it."""
    left = _LEFT.fullmatch(path.name)
    if left is None:
        return False
    here, pid = left[1] == machine(), int(left[2])
    return (here and not alive(pid)) or time.time() - path.stat().st_mtime > _DAY


class DiskStore:
    """A store in a directory; see `Store` for what its methods promise."""

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
        probe = self.path / f"probe{_TEMPORARY}{machine()}~{os.getpid()}~{uuid4().hex[:12]}"
        try:
            _publish(probe, b"")
        finally:
            probe.unlink(missing_ok=True)

    def create(self, name: str, data: bytes) -> None:
        """See `Store.create`."""
        target = self.path / checked_name(name)
        with _reachable(target):
            self._make(target.parent)
            try:
                _publish(target, data)
            except FileExistsError:
                raise NameTaken(f"{name} exists already in {self.uri}") from None
            _sync(target.parent)

    def replace(self, name: str, data: bytes) -> None:
        """See `Store.replace`."""
        target = self.path / checked_name(name)
        with _reachable(target):
            self._make(target.parent)
            _overwrite(target, data)
            _sync(target.parent)

    def remove(self, name: str) -> None:
        """See `Store.remove`."""
        target = self.path / checked_name(name)
        with _reachable(target):
            target.unlink(missing_ok=True)

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
                _overwrite(target, data)  # of a wrong size: damaged since; another process can only put the same bytes
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
            except (IsADirectoryError, NotADirectoryError):
                raise IntegrityError(f"blob {digest} in {self.uri} is corrupt: {target} is no file") from None
        if hashlib.sha256(data).hexdigest() != digest:
            raise IntegrityError(f"blob {digest} in {self.uri} is corrupt: its {len(data)} bytes have another digest")
        return data

    def discard(self, digest: str) -> None:
        """See `Store.discard`."""
        target = self._blob(digest)
        with _reachable(target):
            target.unlink(missing_ok=True)

    def set_aside(self, digest: str) -> str:
        """See `Store.set_aside`."""
        source = self._blob(digest)
        target = self.path / "aside" / f"{digest}-{uuid4().hex[:8]}"  # the same blob may rot again
        with _reachable(source):
            self._make(target.parent)
            try:
                source.rename(target)
            except FileNotFoundError:
                return ""
            _sync(target.parent)
            _sync(source.parent)
        return str(target)

    def sweep(self) -> int:
        """See `Store.sweep`."""
        count = 0
        for folder, folders, files in os.walk(self.path, onerror=_tell):
            if Path(folder) == self.path:
                folders[:] = [name for name in folders if name in _SWEPT]
            for path in (Path(folder) / file for file in files if _TEMPORARY in file):
                try:
                    if _half_written(path):
                        path.unlink()
                        count += 1
                except OSError as error:
                    _tell(error)
        return count

    @contextmanager
    def guard(self, name: str) -> Iterator[bool]:
        """See `Store.guard`."""
        path = self.path / "locks" / checked_name(name, reserved=())
        with ExitStack() as stack:
            with _reachable(path):
                self._make(path.parent)
                got = stack.enter_context(guard_file(path))
            yield got

    def _blob(self, digest: str) -> Path:
        return self.path / "blobs" / checked_digest(digest)[:2] / digest

    def _make(self, folder: Path) -> None:
        """Make a folder and its parents, each durable in its parent; a new process does not trust an old one's."""
        if folder not in self._durable:
            self._make(folder.parent)
            folder.mkdir(exist_ok=True)
            _sync(folder.parent)
            self._durable.add(folder)
