"""A store that lives as long as its process; `objects`, `blobs` and `aside` are open to be tampered with."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock

from pipeline.store_port import MissingObject, NameTaken, checked_digest, checked_name
from trainers.errors import IntegrityError


class MemoryStore:
    uri = "memory://"

    def __init__(self) -> None:
        self.objects: dict[str, bytes] = {}
        self.blobs: dict[str, bytes] = {}
        self.aside: dict[str, bytes] = {}
        self._held: set[str] = set()
        self._mutex = Lock()

    def create(self, name: str, data: bytes) -> None:
        with self._mutex:
            if checked_name(name) in self.objects:
                raise NameTaken(f"{name} exists already in {self.uri}")
            self.objects[name] = data

    def replace(self, name: str, data: bytes) -> None:
        with self._mutex:
            self.objects[checked_name(name)] = data

    def remove(self, name: str) -> None:
        with self._mutex:
            self.objects.pop(checked_name(name), None)

    def read(self, name: str) -> bytes:
        try:
            return self.objects[checked_name(name)]
        except KeyError:
            raise MissingObject(f"there is no object {name} in {self.uri}") from None

    def names(self, prefix: str) -> list[str]:
        folder = f"{checked_name(prefix)}/"
        with self._mutex:
            return sorted(name for name in self.objects if name.startswith(folder))

    def put(self, data: bytes) -> str:
        digest = hashlib.sha256(data).hexdigest()
        self.blobs[digest] = data
        return digest

    def get(self, digest: str) -> bytes:
        data = self.blobs.get(checked_digest(digest))
        if data is None or hashlib.sha256(data).hexdigest() != digest:
            raise IntegrityError(f"blob {digest} is {'missing' if data is None else 'corrupt'} in {self.uri}")
        return data

    def discard(self, digest: str) -> None:
        self.blobs.pop(checked_digest(digest), None)

    def set_aside(self, digest: str) -> str:
        data = self.blobs.pop(checked_digest(digest), None)
        if data is None:
            return ""
        where = f"aside/{digest}-{len(self.aside)}"
        self.aside[where] = data
        return f"{self.uri}{where}"

    def sweep(self) -> int:
        return 0

    @contextmanager
    def guard(self, name: str) -> Iterator[bool]:
        with self._mutex:
            got = checked_name(name, reserved=()) not in self._held
            self._held.add(name)
        try:
            yield got
        finally:
            if got:
                self._held.discard(name)
