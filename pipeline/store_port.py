"""What every store promises: the Store port, the names that objects may have, and its errors."""

from __future__ import annotations

import re
from contextlib import AbstractContextManager
from typing import Protocol

from trainers.errors import ConfigError, GansearchError, IntegrityError

_SEGMENT = re.compile(r"[A-Za-z0-9._-]{1,200}")
_DIGEST = re.compile(r"[0-9a-f]{64}")
_RESERVED = ("blobs", "locks", "aside")  # folders with another use


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
            NameTaken: the name exists; its content stays as it is. An object store may say so of an object that this
                very call made, where the answer got lost and the request was sent again.
            ConfigError: the name is not of that form.
            Unreachable: the store cannot be written; the object may have been made all the same.
        """

    def replace(self, name: str, data: bytes) -> None:
        """Make an object in place of any older one of that name, whole and durable on return; the last writer wins."""

    def remove(self, name: str) -> None:
        """Remove an object, if it is there; after a power cut it may be there again."""

    def read(self, name: str) -> bytes:
        """Return an object's content.

        Raises:
            MissingObject: there is no such object.
        """

    def names(self, prefix: str) -> list[str]:
        """Return the sorted full names of all objects under the folder `prefix`, at any depth."""

    def put(self, data: bytes) -> str:
        """Keep a blob and return its SHA-256 as hex; durable on return; one whose size is wrong is written anew."""

    def get(self, digest: str) -> bytes:
        """Return a blob's bytes.

        Raises:
            IntegrityError: it is missing, or its bytes do not have that digest.
        """

    def discard(self, digest: str) -> None:
        """Remove a blob, if it is there."""

    def set_aside(self, digest: str) -> str:
        """Move a blob to where `get` does not find it, as evidence, and return where it is now.

        Returns:
            A path or URI for people to look at, or "" where the blob is missing.
        """

    def sweep(self) -> int:
        """Remove what writers that died left half-written, and return how many files that were.

        Files of this machine's dead processes go at once, those of other machines when they are a day old. What cannot
        be read or removed is told in the log, and stays: it costs room and nothing else.
        """

    def guard(self, name: str) -> AbstractContextManager[bool]:
        """Try for a lock among this machine's processes; yields whether it was got. The holder's death frees it.

        Args:
            name: one segment.
        """


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


def checked_digest(digest: str) -> str:
    """Return `digest` if it may name a blob, else raise IntegrityError."""
    if not _DIGEST.fullmatch(digest):
        raise IntegrityError(f"a blob's name must be a SHA-256 in hex, but got {digest!r}")
    return digest
