"""The Executor port with made-up trainings: a script says which worker answers next, and which of them dies instead."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import get_args

from pipeline.ports import Answer, Job, Loss, Prepared
from pipeline.records import Cause, SegmentResult
from pipeline.store import Store
from tests.fakes.journal import ENVIRONMENT
from trainers.config import Environment, TrainConfig
from trainers.stability.events import Event

METRIC = "frechet"
IDLE_LOOKS = 9  # for answers, in a row, while no call is outstanding and every worker has its place
CAUSES: dict[str, Cause] = {cause: cause for cause in get_args(Cause)}


@dataclass(frozen=True)
class Course:
    """How a trial goes: its scores, one a segment, and the segment (from 1 on) in which it cannot go on."""

    scores: tuple[float | None, ...]
    diverges_in: int | None = None  # a detector stops it
    too_large_in: int | None = None  # no device has the memory
    salt: str = ""  # another salt, other bits


@dataclass
class _Held:
    job: Job
    step: int


@dataclass
class ScriptedExecutor:
    """Blobs are real: a job whose checkpoint was discarded cannot go on.

    `choose` is given the workers that have a call to answer and returns those that answer now, in order, each with
    "segment", or with the cause of its loss; an empty answer is a time-out.
    """

    store: Store
    courses: Mapping[int, Course]
    workers: tuple[str, ...]
    choose: Callable[[list[str]], list[tuple[str, str]]]
    environment: Environment = ENVIRONMENT
    trained: list[tuple[int, int, int]] = field(default_factory=list)  # trial, start, stop
    started: list[tuple[str, int, int]] = field(default_factory=list)  # worker, trial, step
    closed: bool = False
    detail: str = ""  # of a loss
    placeless: frozenset[str] = frozenset()  # workers that never have a place
    homeless_for: int = 0  # looks for answers that the worker in the stead of a lost one has no place
    _homeless: dict[str, int] = field(default_factory=dict)
    _held: dict[str, _Held] = field(default_factory=dict)
    _late: list[Answer] = field(default_factory=list)  # of workers that were out of reach
    _outstanding: dict[str, None] = field(default_factory=dict)  # workers, in the order of their calls
    _idle_looks: int = 0

    def prepare(self, config: TrainConfig, extractor: str | None = None) -> Prepared:
        return Prepared(metric=METRIC, extractor=None, data={"name": config.data.name}, environment=self.environment)

    def ready(self, worker: str) -> bool:
        return worker not in self.placeless and self._homeless.get(worker, 0) <= 0

    def start(self, worker: str, job: Job) -> None:
        assert self.ready(worker), f"{worker} has no place yet"
        number, step = job.spec.number, 0
        busy = {self._held[other].job.spec.number for other in self._outstanding}
        assert number not in busy, f"trial {number} is trained by two workers"
        if job.checkpoint is not None:
            trial, _, at = self.store.get(job.checkpoint).decode().partition("@")
            assert trial == job.spec.key, f"{job.spec.key} goes on from a checkpoint of {trial}"
            step = int(at)
        self._call(worker)
        self._held[worker] = _Held(job, step)
        self.started.append((worker, number, step))

    def advance(self, worker: str) -> None:
        assert worker in self._held, f"{worker} has no job"
        self._call(worker)

    def next(self, timeout: float) -> list[Answer]:
        self._homeless = {worker: looks - 1 for worker, looks in self._homeless.items()}
        late, self._late = self._late, []
        if not self._outstanding:
            self._idle_looks += all(map(self.ready, self.workers))
            assert self._idle_looks < IDLE_LOOKS, "somebody waits, and there is nothing to wait for"
            return late
        self._idle_looks = 0
        return late + [self._answer(worker, how) for worker, how in self.choose(list(self._outstanding))]

    def close(self) -> None:
        self._outstanding.clear()
        self._late.clear()
        self.closed = True

    def _call(self, worker: str) -> None:
        if worker in self._outstanding:
            raise RuntimeError(f"{worker} has not answered its last call yet")
        assert worker in self.workers
        self._outstanding[worker] = None

    def _answer(self, worker: str, how: str) -> Answer:
        del self._outstanding[worker]
        job = self._held[worker].job
        number, attempt = job.spec.number, job.attempt
        if how == "segment" and self._is_too_large(self._held[worker]):
            how = "device_memory"
        if how == "segment":
            return Answer(worker, number, attempt, self._train(self._held[worker]))
        held = self._held.pop(worker)
        assert how in CAUSES
        if how == "checkpoint" and job.checkpoint is None:
            how = "worker_lost"
        if how == "node_lost":  # only out of reach: what it did meanwhile arrives with the next answers
            self._late.append(Answer(worker, number, attempt, self._train(held)))
        self._homeless[worker] = self.homeless_for
        blob = job.checkpoint if how == "checkpoint" else None
        told = {"detail": self.detail or f"{worker}: {how}", "traceback": f"Traceback of {how}", "blob": blob}
        return Answer(worker, number, attempt, Loss(cause=CAUSES[how], **told))

    def _is_too_large(self, held: _Held) -> bool:
        course = self.courses[held.job.spec.number]
        return held.step // held.job.spec.config.segment_steps + 1 == course.too_large_in

    def _train(self, held: _Held) -> SegmentResult:
        spec = held.job.spec
        course, config, start = self.courses[spec.number], spec.config, held.step
        stop = min((start // config.segment_steps + 1) * config.segment_steps, config.steps)
        index = -(-stop // config.segment_steps)
        score = course.scores[index - 1]
        stops = index == course.diverges_in
        event = Event(kind="non_finite", step=stop, severity=0.7, action="stop", evidence={}, message="it is NaN")
        held.step = stop
        self.trained.append((spec.number, start, stop))
        return SegmentResult(
            start=start,
            stop=stop,
            history=self.store.put(self.history(spec.number, stop)),
            samples=self.store.put(f"samples {spec.key} {stop}".encode()),
            checkpoint=self.store.put(f"{spec.key}@{stop}".encode()) if index % config.checkpoint_every == 0 else None,
            generator=self.store.put(f"generator {spec.key} {stop}".encode()),
            scores={} if score is None else {METRIC: score},
            events=(event,) if stops else (),
            seconds=0.5,
            environment=self.environment,
        )

    def history(self, number: int, stop: int) -> bytes:
        return f"history {number} {stop}{self.courses[number].salt}".encode()


def in_turn(workers: list[str]) -> list[tuple[str, str]]:
    """The oldest call is answered, with a segment."""
    return [(worker, "segment") for worker in workers[:1]]
