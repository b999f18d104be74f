"""A tracker that keeps what it is shown, and that can be down."""

from __future__ import annotations

from dataclasses import dataclass, field

from pipeline.book import Book
from pipeline.projection import Outcome, TrackerGoneError
from pipeline.projector import Shown
from pipeline.records import RunRecord
from trainers.errors import IntegrityError


@dataclass
class MemoryTracker:
    tracking_uri: str = "memory://"
    down: bool = False
    gone: bool = False  # what was shown before has been removed
    refused: set[int] = field(default_factory=set)  # trials that it never takes
    steps: dict[int | None, int] = field(default_factory=dict)  # steps shown, by trial
    began: dict[int | None, float] = field(default_factory=dict)
    outcome: Outcome | None = None
    broken: dict[int, IntegrityError] = field(default_factory=dict)  # trials that it cannot show whole
    calls: int = 0

    def show(self, book: Book, trial: int | None, began: float) -> Shown:
        self._answer()
        if trial in self.refused:
            raise ValueError(f"trial {trial} cannot be shown")
        self.steps[trial] = 0 if trial is None else book.trials[trial].steps
        self.began[trial] = began
        run = RunRecord(at=began, trial=trial, run_id=f"run-{trial}", tracking_uri=self.tracking_uri)
        return Shown(run, None if trial is None else self.broken.get(trial))

    def finish(self, book: Book, outcome: Outcome) -> IntegrityError | None:
        self._answer()
        self.outcome = outcome
        return None

    def _answer(self) -> None:
        self.calls += 1
        if self.gone:
            raise TrackerGoneError("somebody removed it")
        if self.down:
            raise ConnectionError("nobody answers")
