"""A store in a bucket that speaks S3: objects and blobs by their names under a prefix, made by conditional PUTs."""

from __future__ import annotations

import hashlib
import os
import re
import stat
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from datetime import timedelta
from pathlib import Path
from urllib.parse import urlsplit
from uuid import uuid4

from obstore.exceptions import AlreadyExistsError, BaseError
from obstore.store import S3Store

from pipeline.machine import guard_file
from pipeline.store_port import MissingObject, NameTaken, checked_digest, checked_name, is_segment
from trainers.errors import ConfigError, IntegrityError, Unreachable

_BUCKET = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")
_ENDPOINTS = ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT")
# A request is given up after 15 s without a byte, and sent again for 15 s at most: an outage is told after some 30 s.
# The whole of one may take long, since a large blob comes in one answer; it leaves in parts of 5 MiB, two at a time, so
# that a slow line sends them in 15 s.
_SILENCE, _AGAIN = timedelta(seconds=15), timedelta(seconds=15)
_WHOLE = timedelta(minutes=10)
_PARTS = 2
_MEND = (
    "see to the bucket, the network, AWS_ENDPOINT_URL, AWS_REGION, AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, "
    "then run the same command again"
)


def _why(error: Exception) -> str:
    """Say what went wrong in a line without what a server's answer or an endpoint may tell of credentials."""
    text = str(error)
    for pattern in (r"<Code>(\w+)</Code>", r"status code: (\d+[A-Za-z ]*)"):
        found = re.search(pattern, text)
        if found:
            return f"the server says {found[1].strip()}"
    return re.sub(r"//[^/\s]*@", "//", text.partition("\n")[0])


class ObjectStore:
    """A store in a bucket; see `Store` for what its methods promise."""

    def __init__(self, uri: str) -> None:
        """Name the store; no request is sent yet.

        Args:
            uri: s3://bucket or s3://bucket/prefix. Credentials, region and endpoint come from the AWS_* environment.

        Raises:
            ConfigError: the URI is of another form.
            Unreachable: the environment cannot be used, for example half a pair of keys.
        """
        bucket, prefix = _parts(uri)
        self.uri = f"s3://{bucket}/{prefix}".rstrip("/")
        endpoint = next((os.environ[name] for name in _ENDPOINTS if os.environ.get(name)), "")
        with self._reachable("opened"):
            self._s3 = S3Store(
                bucket,
                prefix=prefix or None,
                disable_bulk_delete=True,  # not every server that speaks S3 has it
                client_options={
                    "allow_http": endpoint.startswith("http://"),
                    "connect_timeout": timedelta(seconds=5),
                    "read_timeout": _SILENCE,
                    "timeout": _WHOLE,
                },
                retry_config={
                    "max_retries": 10,
                    "retry_timeout": _AGAIN,
                    "backoff": {
                        "init_backoff": timedelta(milliseconds=100),
                        "max_backoff": timedelta(seconds=3),
                        "base": 2,
                    },
                },
            )

    def prepare(self) -> None:
        """Try in the bucket what the store relies on: that an object can be made, and not made twice.

        Raises:
            Unreachable: it cannot be written, or the server makes an object that is there already.
        """
        probe = f"locks/probe-{uuid4().hex}"  # in a folder that holds no objects
        with self._reachable("written"):
            self._s3.put(probe, b"", mode="create")
        try:
            with self._reachable("written", NameTaken):
                self._s3.put(probe, b"", mode="create")
        except NameTaken:
            return
        finally:
            with suppress(Unreachable):  # an empty object in a folder that nobody lists
                self._delete(probe)
        raise Unreachable(
            f"the store {self.uri} makes an object twice (its server ignores If-None-Match: *), and only a refusal "
            "keeps two drivers apart; use a server that has conditional PUT, or name another place with --store"
        )

    def look(self) -> None:
        """See that there is a store.

        Raises:
            Unreachable: nothing lies under the prefix, or the bucket cannot be read.
        """
        with self._reachable("read"):
            found = next(iter(self._s3.list(chunk_size=1)), None)
        if not found:
            mend = "name another place with --store, or begin one with `gansearch search`"
            raise Unreachable(f"there is no store at {self.uri}; {mend}")

    def create(self, name: str, data: bytes) -> None:
        """See `Store.create`."""
        checked_name(name)
        for _ in range(5):
            with suppress(NameTaken), self._reachable(f"written ({name})", NameTaken):
                self._s3.put(name, data, mode="create", use_multipart=False)
                return
            if self._is_there(name):
                raise NameTaken(f"{name} exists already in {self.uri}")
        # S3 answers "conflict" too while another request for the name is under way, which may fail or be a removal.
        raise Unreachable(f"{self.uri} cannot be written ({name}: the server says Conflict); {_MEND}")

    def replace(self, name: str, data: bytes) -> None:
        """See `Store.replace`."""
        with self._reachable(f"written ({name})"):
            self._s3.put(checked_name(name), data, use_multipart=False)

    def remove(self, name: str) -> None:
        """See `Store.remove`."""
        self._delete(checked_name(name))

    def read(self, name: str) -> bytes:
        """See `Store.read`."""
        return self._read(checked_name(name))

    def names(self, prefix: str) -> list[str]:
        """See `Store.names`."""
        with self._reachable(f"read ({prefix})"):
            return sorted(found["path"] for found in self._s3.list(checked_name(prefix)).collect())

    def put(self, data: bytes) -> str:
        """See `Store.put`; it is always written, which is one request, and mends a blob whose content is wrong."""
        digest = hashlib.sha256(data).hexdigest()
        with self._reachable(f"written (blob {digest})"):
            self._s3.put(_blob(digest), data, max_concurrency=_PARTS)
        return digest

    def get(self, digest: str) -> bytes:
        """See `Store.get`."""
        try:
            data = self._read(_blob(digest))
        except MissingObject:
            raise IntegrityError(f"blob {digest} is missing from {self.uri}") from None
        if hashlib.sha256(data).hexdigest() != digest:
            raise IntegrityError(f"blob {digest} in {self.uri} is corrupt: its {len(data)} bytes have another digest")
        return data

    def discard(self, digest: str) -> None:
        """See `Store.discard`."""
        self._delete(_blob(digest))

    def set_aside(self, digest: str) -> str:
        """See `Store.set_aside`."""
        target = f"aside/{digest}-{uuid4().hex[:8]}"  # the same blob may rot again
        try:
            with self._reachable(f"written (blob {digest})", MissingObject):
                self._s3.rename(_blob(digest), target)
        except MissingObject:
            return ""
        return f"{self.uri}/{target}"

    def sweep(self) -> int:
        """See `Store.sweep`; an object is there whole or not at all."""
        return 0

    @contextmanager
    def guard(self, name: str) -> Iterator[bool]:
        """See `Store.guard`; the lock is a file in a folder of this user's below the temporary directory."""
        checked_name(name, reserved=())
        folder = Path(tempfile.gettempdir()) / f"gansearch-locks-{os.getuid()}"
        key = hashlib.sha256(f"{self.uri}\0{name}".encode()).hexdigest()
        with ExitStack() as stack:
            try:
                _own(folder)
                got = stack.enter_context(guard_file(folder / key))
            except OSError as error:
                mend = "remove it, or set TMPDIR to a directory of your own"
                raise Unreachable(f"{folder} cannot hold locks ({error.strerror or error}); {mend}") from error
            yield got

    def _read(self, path: str) -> bytes:
        with self._reachable(f"read ({path})", MissingObject):
            return self._s3.get(path).bytes().to_bytes()

    def _delete(self, path: str) -> None:
        with suppress(MissingObject), self._reachable(f"written ({path})", MissingObject):
            self._s3.delete(path)

    def _is_there(self, name: str) -> bool:
        try:
            self._read(name)
        except MissingObject:
            return False
        return True

    @contextmanager
    def _reachable(self, done: str, asked: type[NameTaken | MissingObject] | None = None) -> Iterator[None]:
        """Turn the library's errors into ours, which name what could not be done; its own tell too much.

        Whether an object is there is told to those alone who ask: any conflict looks as if one were, and any answer
        "not found" as if none were, also where that decides nothing.
        """
        try:
            yield
        except (BaseError, OSError) as error:
            if asked is NameTaken and isinstance(error, AlreadyExistsError):
                raise NameTaken(f"an object exists already in {self.uri}: it cannot be {done}") from None
            missing = isinstance(error, FileNotFoundError) and "NoSuchBucket" not in str(error)
            if asked is MissingObject and missing:
                raise MissingObject(f"there is no object in {self.uri} that can be {done}") from None
            raise Unreachable(f"{self.uri} cannot be {done}: {_why(error)}; {_MEND}") from None


def _parts(uri: str) -> tuple[str, str]:
    """Return the bucket and the prefix of a URI."""
    parts = urlsplit(uri)
    prefix = parts.path.removeprefix("/").removesuffix("/")
    if "@" in uri or parts.query or parts.fragment:
        raise ConfigError("store must be s3://bucket/prefix and no more; credentials belong in the AWS_* environment")
    if not _BUCKET.fullmatch(parts.netloc) or not all(map(is_segment, prefix.split("/") if prefix else [])):
        form = "a bucket's name, and a prefix of letters, digits, '.', '_', '-' and '/'"
        raise ConfigError(f"store must be s3:// with {form}, but got store={uri!r}")
    return parts.netloc, prefix


def _blob(digest: str) -> str:
    return f"blobs/{checked_digest(digest)[:2]}/{digest}"


def _own(folder: Path) -> None:
    """Make a folder that only this user can use; one that is somebody else's could be held for ever."""
    folder.mkdir(mode=0o700, exist_ok=True)
    found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or found.st_mode & 0o077:
        raise PermissionError(0, "it must be a folder that is yours alone")
