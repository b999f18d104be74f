"""How a search ended, and its best trial's samples as a picture."""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.book import Book
from pipeline.records import SCHEMA
from pipeline.safe_text import redact
from pipeline.store import DiskStore, Store


@dataclass(frozen=True, kw_only=True)
class Result:
    """How a search ended.

    Attributes:
        book: the study.
        finished: whether the budget is used up.
        trained: whether this driver trained anything.
        seconds: that it took.
        lagging: records that are not shown yet, by the name of each tracker that lags behind.
        tracking_uri: where the runs are.
        picture: the best trial's samples; see `draw_best`.
    """

    book: Book
    finished: bool
    trained: bool
    seconds: float
    lagging: Mapping[str, int]
    tracking_uri: str
    picture: Path | None

    def document(self) -> dict[str, Any]:
        """Return what `gansearch search --format json` prints."""
        book, best = self.book, self.book.best
        return {
            "schema": SCHEMA,
            "study": book.study.study if book.study else "",
            "trials": book.counts,
            "best": None
            if best is None
            else {
                "trial": best.number,
                "run_id": best.run_id,
                "score": best.score,
                "metric": book.study.metric if book.study else "",
                "params": best.spec.params,
            },
            "steps": sum(trial.steps for trial in book.trials.values()),
            "seconds": round(self.seconds, 3),
            "unsynced": max(self.lagging.values(), default=0),
            "tracking_uri": redact(self.tracking_uri),
        }


def draw_best(book: Book, store: Store) -> Path | None:
    """Write the best trial's samples as a picture beside the study's journal, and return its path.

    None stands for no picture: there are no samples, they cannot be drawn, or the store is no folder.
    """
    best = book.best.best if book.best is not None else None
    if book.best is None or best is None or best.result.samples is None or book.study is None:
        return None
    if not isinstance(store, DiskStore):
        return None
    from trainers.picture import centres_of, picture, read_samples

    samples = read_samples(store.get(best.result.samples))
    drawn = picture(samples, centres_of(book.best.spec.config))
    if drawn is None:
        return None
    encoded, name = io.BytesIO(), f"studies/{book.study.study}/best.png"
    drawn.save(encoded, format="PNG")
    store.replace(name, encoded.getvalue())
    return Path(store.path) / name
