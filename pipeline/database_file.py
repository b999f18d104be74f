"""The file of an SQLite database: which one a URL names, and whether it is still the one that was written."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import urlsplit

from pipeline.projection import TrackerGoneError
from pipeline.safe_text import redact
from trainers.errors import ConfigError


def database_file(key: str, url: str) -> Path | None:
    """Return the file of an SQLite URL; None for a server.

    Args:
        key: of the configuration, named in messages.
        url: as SQLAlchemy writes it, or a server's.

    Raises:
        ConfigError: it is no URL, or names no file: a database in memory is gone with its thread.
    """
    try:
        parts = urlsplit(url)
    except ValueError as error:
        raise ConfigError(f"{key} must be a URL, but got {key}={redact(url)!r}: {error}") from error
    if parts.scheme.partition("+")[0] != "sqlite":
        return None
    if parts.path in ("", "/", "/:memory:"):
        raise ConfigError(f"{key} must name a file, such as sqlite:////data/{key}.db, but got {key}={redact(url)!r}")
    return Path(parts.path.removeprefix("/"))


class DatabaseFile:
    """The file that a process writes into; of a server there is none, and nothing is noticed."""

    def __init__(self, whose: str, key: str, url: str) -> None:
        """Prepare to look; nothing is looked at before the first call.

        Args:
            whose: database it is, for a person.
            key: see `database_file`.
            url: see `database_file`.

        Raises:
            ConfigError: see `database_file`.
        """
        self._whose, self._path = whose, database_file(key, url)
        self._seen: tuple[int, int] | None = None  # which file it was

    def see(self) -> None:
        """Look whether it is still the file that was there.

        Raises:
            TrackerGoneError: it was removed; a connection that is open would go on writing into nothing.
        """
        if self._path is None:
            return
        try:
            found = self._path.stat()
        except FileNotFoundError:
            found = None
        now = None if found is None else (found.st_dev, found.st_ino)
        if self._seen is not None and now != self._seen:
            raise TrackerGoneError(f"{self._whose} database {self._path} was removed while it was in use")
        self._seen = now
