"""A tracker that keeps what it is shown, and that can be down."""

from __future__ import annotations

from dataclasses import dataclass, field

from pipeline.book import Book
from pipeline.projection import Outcome
from pipeline.records import RunRecord


@dataclass
class MemoryTracker:
    tracking_uri: str = "memory://"
    down: bool = False
    refused: set[int] = field(default_factory=set)  # trials that it never takes
    steps: dict[int | None, int] = field(default_factory=dict)  # steps shown, by trial
    began: dict[int | None, float] = field(default_factory=dict)
    outcome: Outcome | None = None
    ended_at: float | None = None
    calls: int = 0

    def show(self, book: Book, trial: int | None, began: float) -> RunRecord:
        self._answer()
        if trial in self.refused:
            raise ValueError(f"trial {trial} cannot be shown")
        self.steps[trial] = 0 if trial is None else book.trials[trial].steps
        self.began[trial] = began
        return RunRecord(at=began, trial=trial, run_id=f"run-{trial}", tracking_uri=self.tracking_uri)

    def finish(self, book: Book, outcome: Outcome, at: float) -> None:
        self._answer()
        self.outcome, self.ended_at = outcome, at

    def _answer(self) -> None:
        self.calls += 1
        if self.down:
            raise ConnectionError("nobody answers")
