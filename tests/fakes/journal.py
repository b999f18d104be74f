"""Journal records with no training behind them."""

from __future__ import annotations

from typing import Any

from pipeline.records import (
    AttemptRecord,
    DecisionRecord,
    FinishRecord,
    LateRecord,
    LossRecord,
    RegistrationRecord,
    RunRecord,
    SegmentRecord,
    SegmentResult,
    StudyRecord,
    TrialRecord,
    TrialSpec,
    TrialState,
)
from trainers.config import Environment, TrainConfig

ENVIRONMENT = Environment(
    device="cpu", cpu="AVX2 x86_64", python="3.11", torch="2", numpy="2", threads=1, deterministic=True
)


def study(**changes: Any) -> StudyRecord:
    facts: dict[str, Any] = {"at": 1.5, "study": "digits", "uid": "u", "config": {"trials": 3}, "metric": "frechet"}
    more = {"extractor": None, "data": {"name": "digits"}, "versions": {"torch": "2"}, "code": "c0de"}
    return StudyRecord(**facts | more | changes)


def trial(number: int, *, begins: int = 0, **config: Any) -> TrialRecord:
    params = {"optim.lr_d": 1e-4 * (number + 1) / 3}
    spec = TrialSpec(number=number, key=f"u/{number}", params=params, config=TrainConfig(seed=number, **config))
    return TrialRecord(at=2.0, spec=spec, begins=begins)


def attempt(number: int, attempt: int = 0, step: int = 0) -> AttemptRecord:
    return AttemptRecord(at=3.0, trial=number, attempt=attempt, worker="worker-0", step=step)


def segment(number: int, index: int, start: int, stop: int, score: float | None = None, **result: Any) -> SegmentRecord:
    scores = {} if score is None else {"frechet": score, "confidence": 0.5}
    blobs: dict[str, Any] = {"history": "h", "samples": None, "checkpoint": None, "generator": None}
    facts = {"scores": scores, "seconds": 0.1, "environment": ENVIRONMENT}
    made = SegmentResult(start=start, stop=stop, **blobs | facts | result)
    return SegmentRecord(at=4.0, trial=number, attempt=0, index=index, result=made)


def loss(number: int, **changes: Any) -> LossRecord:
    facts: dict[str, Any] = {"at": 5.0, "attempt": 0, "cause": "worker_lost", "detail": "gone"}
    return LossRecord(trial=number, **facts | changes)


def late(number: int, attempt: int = 0) -> LateRecord:
    return LateRecord(at=5.5, trial=number, attempt=attempt, worker="worker-0")


def decision(number: int, state: TrialState, **more: Any) -> DecisionRecord:
    return DecisionRecord(at=6.0, trial=number, state=state, reason="because", **more)


def finish(*best: int) -> FinishRecord:
    return FinishRecord(at=6.5, best=best)


def run(number: int | None, run_id: str = "r") -> RunRecord:
    return RunRecord(at=7.0, trial=number, run_id=run_id, tracking_uri="sqlite://")


def registration(number: int) -> RegistrationRecord:
    return RegistrationRecord(at=8.0, trial=number, run_id="r", model="m", version=1, alias="champion")
