"""The Executor port in this process: a call is worked off when its answer is asked for, the oldest first."""

from collections.abc import Callable
from typing import Any

from pipeline.ports import Answer, Job, Loss, Prepared, attempt
from pipeline.records import SegmentResult
from trainers.config import TrainConfig


class Death(BaseException):
    """What a worker raises in place of ending its process."""


class InlineExecutor:
    """A worker that raises Death counts as a process that died."""

    def __init__(self, make_worker: Callable[[], Any], workers: int = 1) -> None:
        self.workers = tuple(f"worker-{number}" for number in range(workers))
        self._make_worker = make_worker
        self._held = {name: make_worker() for name in self.workers}
        self._jobs: dict[str, Job] = {}
        self._calls: dict[str, Callable[[], SegmentResult]] = {}
        self._data: str | None = None

    def prepare(self, config: TrainConfig, extractor: str | None = None) -> Prepared:
        prepared: Prepared = self._held[self.workers[0]].prepare(config, extractor)
        self._data = prepared.data.get("digest")
        return prepared

    def ready(self, worker: str) -> bool:
        return True

    def start(self, worker: str, job: Job) -> None:
        self._call(worker, lambda: self._held[worker].start(job, self._data))
        self._jobs[worker] = job

    def advance(self, worker: str) -> None:
        self._call(worker, self._held[worker].advance)

    def next(self, timeout: float) -> list[Answer]:
        if not self._calls:
            return []
        worker = next(iter(self._calls))
        try:
            answer = attempt(self._calls.pop(worker))
        except Death:
            answer = Loss(cause="worker_lost", detail=f"{worker} died")
        if isinstance(answer, Loss) and answer.cause not in ("user_error", "checkpoint"):
            self._held[worker] = self._make_worker()
        job = self._jobs[worker]
        return [Answer(worker, job.spec.number, job.attempt, answer)]

    def close(self) -> None:
        self._calls.clear()

    def _call(self, worker: str, call: Callable[[], SegmentResult]) -> None:
        if worker in self._calls:
            raise RuntimeError(f"{worker} has not answered its last call yet")
        self._calls[worker] = call
