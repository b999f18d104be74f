"""Which blobs go: noted while a turn of the search is worked out, removed once its records are durable."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Protocol

from pipeline import policies
from pipeline.book import Book, Trial


class Blobs(Protocol):
    """The part of a store that this needs."""

    def discard(self, digest: str) -> None:
        """Remove a blob that nothing needs any more."""

    def set_aside(self, digest: str) -> str:
        """Move a corrupt blob to where nothing reads it, and return where that is."""


class Janitor:
    """Removes what the policies say, and nothing before `work`.

    Args:
        blobs: of the study's store.
    """

    def __init__(self, blobs: Blobs) -> None:
        self._blobs = blobs
        self._noted: list[Callable[[], object]] = []
        self._kept: dict[int, bool] = {}  # final trials whose garbage is noted, and whether their generator stays

    def tidy(self, trial: Trial) -> None:
        """Note what a trial that is not final has too much of."""
        self._note(policies.discardable(trial.segments, trial.best))

    def collect(self, book: Book) -> None:
        """Note what final trials do not need any more, which changes whenever a better one is found."""
        kept = policies.kept(book)
        for trial in book.trials.values():
            keep = trial.number in kept
            if trial.state.final and self._kept.get(trial.number) is not keep:
                self._kept[trial.number] = keep
                self._note(policies.garbage(trial, keep=keep))

    def set_aside(self, digest: str) -> None:
        """Note a corrupt blob."""
        self._noted.append(partial(self._blobs.set_aside, digest))

    def work(self) -> None:
        """Do what is noted; the records that it follows from are durable."""
        noted, self._noted = self._noted, []
        for task in noted:
            task()

    def _note(self, digests: tuple[str, ...]) -> None:
        self._noted += [partial(self._blobs.discard, digest) for digest in digests]
