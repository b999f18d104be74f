"""A study with blobs behind its records: histories, samples and generators, as a tracker needs them."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from safetensors.torch import save

from pipeline.book import Book
from pipeline.records import (
    AttemptRecord,
    DecisionRecord,
    Environment,
    FinishRecord,
    Record,
    RegistrationRecord,
    SegmentRecord,
    SegmentResult,
    StudyRecord,
    TrialRecord,
    TrialSpec,
    TrialState,
)
from pipeline.store import Store
from trainers import networks
from trainers.config import TrainConfig
from trainers.stability.events import Event

METRIC = "frechet_1a2b3c4d"
SHAPE = (1, 8, 8)
STEPS = 50  # in a segment
HERE = Environment(device="cpu", cpu="AVX2", python="3.11", torch="2", numpy="2", threads=1, deterministic=True)
CONFIG = TrainConfig.model_validate(
    {"network": {"name": "mlp", "width": 16, "depth": 1}, "latent": {"size": 8, "prior": "uniform"}, "steps": 100}
)
EVENT = Event(
    kind="exploding_gradient",
    step=73,
    severity=0.5,
    action="stop",
    evidence={"grad_norm_d": "inf", "threshold": 100.0},
    message="the discriminator's gradient norm was above 100 for 50 steps",
)


def book_of(records: Sequence[Record]) -> Book:
    book = Book()
    for record in records:
        book.apply(record)
    return book


def study(store: Store, *, name: str = "digits", uid: str = "u1", metric: str = METRIC, **config: Any) -> StudyRecord:
    return StudyRecord(
        at=1000.0,
        study=name,
        uid=uid,
        config={"study": name, "trials": 3, "tracking_uri": "http://me:secret@mlflow.example"} | config,
        metric=metric,
        extractor=store.put(b"extractor"),
        data={"name": "digits", "digest": "d" * 64, "shape": list(SHAPE), "train": 1500, "held_out": 297},
        versions={"torch": "2"},
        code="c0de",
    )


def trial(
    store: Store,
    number: int,
    state: TrialState | None = TrialState.COMPLETED,
    *,
    uid: str = "u1",
    score: float = 5.0,
    segments: int = 2,
) -> list[Record]:
    """A trial's records; the score of its segment i is score + segments - 1 - i, so the last one is best."""
    spec = TrialSpec(
        number=number,
        key=f"{uid}/{number}",
        params={"space": "wgan_gp", "optim.lr_d": 2e-4, "penalty.lambda": 9.1},
        config=CONFIG.model_copy(update={"seed": number}),
    )
    began = 1001.0 + number
    records: list[Record] = [
        TrialRecord(at=began, spec=spec),
        AttemptRecord(at=began, trial=number, attempt=0, worker="worker-0", step=0),
    ]
    for index in range(segments):
        last = state is TrialState.DIVERGED and index == segments - 1
        result = segment(store, number, index, score + segments - 1 - index, events=(EVENT,) if last else ())
        records.append(SegmentRecord(at=began + index + 0.123, trial=number, attempt=0, index=index, result=result))
    if state is not None:
        records.append(
            DecisionRecord(
                at=began + 100,
                trial=number,
                state=state,
                reason=f"it is {state}",
                event=EVENT if state is TrialState.DIVERGED else None,
                score=score if state.counts else None,
                best_index=segments - 1 if state.counts else None,
                traceback="Traceback: boom" if state is TrialState.FAILED else "",
            )
        )
    return records


def finish(*best: int, at: float = 1900.0) -> FinishRecord:
    return FinishRecord(at=at, best=best)


def registration(number: int, version: int, *, model: str = "gan", alias: str = "champion") -> RegistrationRecord:
    gates = ({"gate": "completed", "passed": True, "detail": "so it is"},)
    facts = {"trial": number, "run_id": "r", "model": model, "version": version, "alias": alias, "gates": gates}
    return RegistrationRecord(at=1950.0, **facts)


def segment(store: Store, number: int, index: int, score: float, events: tuple[Event, ...] = ()) -> SegmentResult:
    start, stop = index * STEPS, (index + 1) * STEPS
    rng = np.random.default_rng([number, index])
    images = rng.integers(0, 256, (9, *SHAPE), dtype=np.uint8)
    return SegmentResult(
        start=start,
        stop=stop,
        history=store.put(history(start, stop)),
        samples=store.put(npy(images)),
        checkpoint=None,
        generator=store.put(weights(number, index)),
        scores={METRIC: score, "confidence": 0.9},
        events=events,
        seconds=1.5,
        environment=HERE,
    )


def history(start: int, stop: int) -> bytes:
    """Signals whose statistics are known: d_loss counts the steps, penalty exists at no step, g_loss at some."""
    steps = np.arange(start + 1, stop + 1)
    d_loss = steps.astype(np.float32)
    broken = np.where(steps % 10 == 0, np.inf, 1.0).astype(np.float32)
    g_loss = pa.array([float(step) if step % 5 == 0 else None for step in steps], pa.float32())
    table = pa.table(
        {
            "step": pa.array(steps, pa.int64()),
            "d_loss": pa.array(d_loss),
            "g_loss": g_loss,
            "grad_norm_d": pa.array(broken),
            "penalty": pa.nulls(len(steps), pa.float32()),
        }
    )
    sink = io.BytesIO()
    with pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table)
    return sink.getvalue()


def npy(array: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()


def weights(number: int, index: int, spoil: float = 0.0) -> bytes:
    network = networks.load(CONFIG.network).generator(CONFIG.latent.size, SHAPE)
    rng = torch.Generator().manual_seed(100 * number + index)
    return save({k: torch.randn(v.shape, generator=rng) * 0.3 + spoil for k, v in network.state_dict().items()})
