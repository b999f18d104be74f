"""The study as its records tell it: a pure fold, and the one place that knows the state of a trial."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Any, Self

from pipeline.records import (
    AttemptRecord,
    BudgetRecord,
    DecisionRecord,
    FinishRecord,
    LateRecord,
    LossRecord,
    Record,
    RegistrationRecord,
    RunRecord,
    SegmentRecord,
    StudyRecord,
    TrialRecord,
    TrialSpec,
    TrialState,
)
from trainers.config import Environment
from trainers.errors import IntegrityError
from trainers.stability.events import Event


@dataclass(kw_only=True)
class Trial:
    """What is known of one trial; only a Book changes it."""

    spec: TrialSpec
    begins: int = 0  # virtual time, in steps
    state: TrialState = TrialState.RUNNING
    attempts: list[AttemptRecord] = field(default_factory=list)
    segments: list[SegmentRecord] = field(default_factory=list)
    order: list[int] = field(default_factory=list)  # the place of each segment's record in the journal: 0, 1, ...
    ended: int = -1  # the place of its final decision
    losses: list[LossRecord] = field(default_factory=list)
    usable: tuple[tuple[str, int], ...] = ()  # digest and step of the last two checkpoints that were not found corrupt
    decision: DecisionRecord | None = None  # the newest; a final one stays
    run_id: str | None = None

    @property
    def number(self) -> int:
        """The trial's number in its study."""
        return self.spec.number

    @property
    def steps(self) -> int:
        """Steps committed, as discriminator updates."""
        return self.segments[-1].result.stop if self.segments else 0

    @property
    def best(self) -> SegmentRecord | None:
        """The segment whose score and generator count: the decision's choice, else as `score_at` says."""
        if self.decision is not None and self.decision.best_index is not None:
            return self.segments[self.decision.best_index]
        scored = [(s.result.score, s.index, s) for s in self.segments if s.result.score is not None]
        if not scored:
            return None
        return (scored[-1] if self.spec.config.score_at == "last" else min(scored))[-1]

    @property
    def score(self) -> float | None:
        """The decision's score, else that of the best segment so far; lower is better."""
        if self.decision is not None and self.decision.score is not None:
            return self.decision.score
        return None if self.best is None else self.best.result.score

    @property
    def checkpoint(self) -> tuple[str, int] | None:
        """Digest and step of the newest checkpoint that was not found corrupt."""
        return self.usable[-1] if self.usable else None

    @property
    def event(self) -> Event | None:
        """The event that stopped the trial, from its decision or its segments."""
        if self.decision is not None and self.decision.event is not None:
            return self.decision.event
        return next((s.result.stopping for s in self.segments if s.result.stopping is not None), None)

    @property
    def environment(self) -> Environment | None:
        """What the trial was trained in; that of one which went on elsewhere names both, and so is no single one's."""
        seen = [segment.result.environment.model_dump() for segment in self.segments]
        if not seen:
            return None
        mixed = {key: list(dict.fromkeys(each[key] for each in seen)) for key in seen[0]}
        told = {key: got[0] if len(got) == 1 else ", then ".join(map(str, got)) for key, got in mixed.items()}
        return Environment.model_validate(told)

    @property
    def device_seconds(self) -> float:
        """Seconds of training and evaluation in all committed segments."""
        return sum(segment.result.seconds for segment in self.segments)

    def apply(self, record: AttemptRecord | SegmentRecord | LossRecord | DecisionRecord, place: int) -> None:
        """Add the record in that place of the journal; if it cannot follow, raise IntegrityError and change nothing."""
        if self.state.final:
            raise IntegrityError(f"trial {self.number} is {self.state}, which is final, but got a {record.kind} record")
        match record:
            case AttemptRecord():
                self._begin(record)
            case SegmentRecord():
                self._commit(record, place)
            case LossRecord():
                self.losses.append(record)
                self.usable = tuple(kept for kept in self.usable if kept[0] != record.blob)
            case DecisionRecord():
                self._decide(record, place)

    def copy(self) -> Self:
        """Return a copy that can be changed on its own."""
        own = replace(self, attempts=list(self.attempts), losses=list(self.losses))
        return replace(own, segments=list(self.segments), order=list(self.order))

    def _begin(self, record: AttemptRecord) -> None:
        if record.attempt != len(self.attempts):
            raise self._impossible(f"the next attempt must be {len(self.attempts)}, but got attempt={record.attempt}")
        if not 0 <= record.step <= self.steps:
            raise self._impossible(f"an attempt must begin in 0..{self.steps}, but got step={record.step}")
        self.attempts.append(record)
        self.state = TrialState.RUNNING

    def _commit(self, record: SegmentRecord, place: int) -> None:
        result = record.result
        if record.index != len(self.segments):
            raise self._impossible(f"the next segment must be {len(self.segments)}, but got index={record.index}")
        if result.start != self.steps or result.stop <= result.start:
            got = f"start={result.start}, stop={result.stop}"
            raise self._impossible(f"segment {record.index} must go on from step {self.steps}, but got {got}")
        self.segments.append(record)
        self.order.append(place)
        if result.checkpoint is not None:
            self.usable = (*self.usable, (result.checkpoint, result.stop))[-2:]

    def _decide(self, record: DecisionRecord, place: int) -> None:
        if record.state is TrialState.RUNNING:
            raise self._impossible("a decision must suspend or end it, but got state=running")
        if record.best_index is not None and not 0 <= record.best_index < len(self.segments):
            raise self._impossible(f"it has {len(self.segments)} segments, but got best_index={record.best_index}")
        self.decision = record
        self.state = record.state
        self.ended = place if record.state.final else -1

    def _impossible(self, message: str) -> IntegrityError:
        return IntegrityError(f"trial {self.number}: {message}")


@dataclass(kw_only=True)
class Book:
    """A study: what its records add up to, whoever wrote them and however often it was resumed."""

    study: StudyRecord | None = None
    config: dict[str, Any] = field(default_factory=dict)  # SearchConfig as JSON, from the newest driver
    allowed: tuple[str, ...] = ()  # differences that users have allowed, in words
    trials: dict[int, Trial] = field(default_factory=dict)
    run_id: str | None = None  # the study's own MLflow run
    registrations: list[RegistrationRecord] = field(default_factory=list)
    finishes: list[FinishRecord] = field(default_factory=list)
    late: int = 0  # answers that came from attempts which others had replaced
    num_records: int = 0

    def apply(self, record: Record) -> None:
        """Add the next record.

        Raises:
            IntegrityError: it cannot follow the ones before, and nothing is changed: an unknown trial, a segment that
                does not begin where the last one stopped, after a final state all but what is said of the trial
                from outside (a run, a registration, a finish, a late answer).
        """
        if (self.study is None) != isinstance(record, StudyRecord):
            raise IntegrityError(f"a study record must come first and only once, but got a {record.kind} record")
        match record:
            case StudyRecord():
                self.study, self.config = record, record.config
            case BudgetRecord():
                self.config, self.allowed = record.config, (*self.allowed, *record.allowed)
            case TrialRecord():
                self._ask(record)
            case RunRecord():
                self._show(record)
            case RegistrationRecord():
                self._trial(record.trial)
                self.registrations.append(record)
            case FinishRecord():
                for number in record.best:
                    self._trial(number)
                self.finishes.append(record)
            case LateRecord():
                self._trial(record.trial)
                self.late += 1
            case _:
                self._trial(record.trial).apply(record, self.num_records)
        self.num_records += 1

    def after(self, records: Iterable[Record]) -> Book:
        """Return the book as it would be with these records too, and leave this one as it is; raises as `apply`."""
        records = list(records)
        changed = {number for record in records if (number := getattr(record, "trial", None)) in self.trials}
        trials = {number: trial.copy() if number in changed else trial for number, trial in self.trials.items()}
        book = replace(self, trials=trials, registrations=list(self.registrations), finishes=list(self.finishes))
        for record in records:
            book.apply(record)
        return book

    @property
    def begun(self) -> StudyRecord:
        """The record with which the study began; a book that has a trial has it."""
        assert self.study is not None, "a journal's first record is its study"  # noqa: S101 - ours, not the user's
        return self.study

    @property
    def unfinished(self) -> list[Trial]:
        """Trials without a final state, the oldest first."""
        return [trial for trial in self.trials.values() if not trial.state.final]

    @property
    def ended(self) -> list[Trial]:
        """Trials with a final state, as they ended."""
        return sorted((trial for trial in self.trials.values() if trial.state.final), key=lambda trial: trial.ended)

    @property
    def finished(self) -> int:
        """How many trials use up the budget of `trials`."""
        return sum(trial.state.counts for trial in self.trials.values())

    @property
    def counts(self) -> dict[str, int]:
        """How many trials ended in each of the final states."""
        states = [trial.state for trial in self.trials.values()]
        return {state.value: states.count(state) for state in TrialState if state.final}

    @property
    def ranking(self) -> list[Trial]:
        """Completed trials that have a score, the best first; the older one of two equals comes first."""
        done = [trial for trial in self.trials.values() if trial.state is TrialState.COMPLETED]
        scored = [(trial.score, trial.number, trial) for trial in done if trial.score is not None]
        return [trial for _, _, trial in sorted(scored, key=lambda row: row[:2])]

    @property
    def best(self) -> Trial | None:
        """The completed trial with the lowest score."""
        return next(iter(self.ranking), None)

    def _ask(self, record: TrialRecord) -> None:
        if record.spec.number in self.trials:
            raise IntegrityError(f"trial {record.spec.number} was asked for twice")
        self.trials[record.spec.number] = Trial(spec=record.spec, begins=record.begins)

    def _show(self, record: RunRecord) -> None:
        if record.trial is None:
            self.run_id = record.run_id
        else:
            self._trial(record.trial).run_id = record.run_id

    def _trial(self, number: int) -> Trial:
        if number not in self.trials:
            raise IntegrityError(f"a record speaks of trial {number}, which was never asked for")
        return self.trials[number]
