"""Which blobs go: noted while a turn of the search is worked out, removed once its records are durable."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Protocol

from pipeline import policies
from pipeline.book import Book, Trial
from pipeline.records import SegmentResult
from trainers.errors import Unreachable

AT_ONCE = 32  # blobs that are removed between two looks at the workers
PATIENCE = 2  # refusals in a turn
_log = logging.getLogger(__name__)


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
        self._aside: dict[str, None] = {}  # corrupt ones
        self._noted: dict[str, None] = {}  # what is to be removed, in order
        self._gone: set[str] = set()  # what was noted, and not put again since
        self._kept: dict[int, bool] = {}  # final trials whose garbage is noted, and whether their generator stays

    def tidy(self, trial: Trial, put: SegmentResult | None = None) -> None:
        """Note what a trial that is not final has too much of.

        Args:
            trial: as the journal has it.
            put: a segment of it whose blobs were just put, perhaps not for the first time.
        """
        if put is not None:
            for digest in (put.checkpoint or "", put.generator or ""):
                self._gone.discard(digest)
                self._noted.pop(digest, None)
        self._note(policies.discardable(trial))

    def collect(self, book: Book) -> None:
        """Note what final trials do not need any more, which changes whenever a better one is found."""
        kept = policies.kept(book)
        for trial in book.trials.values():
            keep = trial.number in kept
            if trial.state.final and self._kept.get(trial.number) is not keep:
                self._kept[trial.number] = keep
                self._note(policies.garbage(trial, keep=keep))

    def set_aside(self, digest: str) -> None:
        """Note a corrupt blob; it comes first."""
        self._aside[digest] = None

    def work(self) -> bool:
        """Do a part of what is noted, whose records are durable, and tell whether to go on.

        A store may be far, and a driver that takes over notes what earlier ones removed: it must not be deaf meanwhile.
        What the store refuses is told, and tried again behind all others: nothing is lost with it but room. Who refuses
        twice is perhaps out of reach, and is left alone until the next time.
        """
        todo: list[tuple[dict[str, None], Callable[[str], object], str]]
        todo = [(self._aside, self._blobs.set_aside, digest) for digest in self._aside]
        todo += [(self._noted, self._blobs.discard, digest) for digest in list(self._noted)[:AT_ONCE]]
        done = refused = 0
        for queue, remove, digest in todo:
            del queue[digest]
            try:
                remove(digest)
                done += 1
            except Unreachable as error:
                queue[digest] = None
                refused += 1
                _log.warning("what is not needed any more stays for now: %s", error)
            if refused == PATIENCE:
                break
        return bool(self._noted) and done > 0

    def _note(self, digests: tuple[str, ...]) -> None:
        fresh = [digest for digest in digests if digest not in self._gone]
        self._gone.update(fresh)
        self._noted |= dict.fromkeys(fresh)
