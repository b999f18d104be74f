"""A store that lives as long as its process; `objects` and `blobs` are open to be tampered with."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock

from pipeline.store import MissingObject, NameTaken, checked_name
from trainers.errors import IntegrityError, StateConflict


class MemoryStore:
    uri = "memory://"

    def __init__(self) -> None:
        self.objects: dict[str, bytes] = {}
        self.blobs: dict[str, bytes] = {}
        self._held: set[str] = set()
        self._guard = Lock()

    def create(self, name: str, data: bytes) -> None:
        with self._guard:
            if checked_name(name) in self.objects:
                raise NameTaken(f"{name} exists already in {self.uri}")
            self.objects[name] = data

    def read(self, name: str) -> bytes:
        if checked_name(name) not in self.objects:
            raise MissingObject(f"there is no object {name} in {self.uri}")
        return self.objects[name]

    def names(self, prefix: str) -> list[str]:
        folder = f"{checked_name(prefix)}/"
        with self._guard:
            return sorted(name for name in self.objects if name.startswith(folder))

    def put(self, data: bytes) -> str:
        digest = hashlib.sha256(data).hexdigest()
        self.blobs[digest] = data
        return digest

    def get(self, digest: str) -> bytes:
        data = self.blobs.get(digest)
        if data is None or hashlib.sha256(data).hexdigest() != digest:
            raise IntegrityError(f"blob {digest} is {'missing' if data is None else 'corrupt'} in {self.uri}")
        return data

    def discard(self, digest: str) -> None:
        self.blobs.pop(digest, None)

    @contextmanager
    def lock(self, study: str) -> Iterator[None]:
        with self._guard:
            if checked_name(study, reserved=()) in self._held:
                raise StateConflict(f"study {study!r} is in use by this process")
            self._held.add(study)
        try:
            yield
        finally:
            self._held.discard(study)
