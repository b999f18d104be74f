"""The files of an MLflow run, and a trial read back from them; imports no MLflow."""

from __future__ import annotations

import hashlib
import io
import json
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import ValidationError

from pipeline.book import Book, Trial
from pipeline.projection import EVENTS, events, milliseconds, trial_generator
from pipeline.records import SegmentRecord, TrialSpec
from pipeline.safe_text import redact
from pipeline.store import Store
from trainers.config import Environment
from trainers.errors import UserError
from trainers.history_file import from_bytes
from trainers.stability.events import Event

FIGURES = 6  # of a trial's first events
THUMBNAIL = 256  # pixels of the longer side; MLflow's page shows it in place of the whole picture
EVENT_COLUMNS = ("kind", "step", "severity", "action", "message", "evidence")
NEEDED = ("spec.json", "environment.json", "data.json", "history.parquet", "scores.json")
EXTRACTOR = "extractor.safetensors"  # only where the study has one


def to_json(value: Any) -> bytes:
    """Return JSON text in the order of the keys, which says which score is the trial's."""
    return json.dumps(value, indent=2).encode()


def digest(value: Any) -> str:
    """Return a short hex digest of JSON data."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:32]


def study_files(book: Book) -> dict[str, bytes]:
    """Return the parent run's files: the newest configuration."""
    return {"config.json": to_json(redact(book.config))}


def sample_images(store: Store, record: SegmentRecord) -> dict[str, bytes]:
    """Return a segment's samples as pictures, by the paths at which MLflow's image grid looks for step and time.

    The names follow `MlflowClient.log_image` (3.17), but the unique part is the samples' digest: showing a segment
    again writes the same files. There are none where a segment has no samples, or they cannot be drawn.
    """
    if record.result.samples is None:
        return {}
    from trainers.picture import picture, read_samples

    image = picture(read_samples(store.get(record.result.samples)))
    if image is None:
        return {}
    scale = THUMBNAIL / max(image.size)
    small = image.resize((max(1, int(image.width * scale)), max(1, int(image.height * scale))))
    unique = uuid.UUID(record.result.samples[:32])
    stem = f"images/samples+step+{record.result.stop}+timestamp+{milliseconds(record.at)}+{unique}"
    return {f"{stem}.png": _encoded(image, "PNG"), f"{stem}+compressed.webp": _encoded(small, "WEBP")}


def _encoded(image: Any, kind: str) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format=kind)
    return buffer.getvalue()


def trial_files(book: Book, trial: Trial) -> dict[str, bytes]:
    """Return the files of a trial that has ended which its records alone give."""
    files = {
        "spec.json": to_json(trial.spec.model_dump(mode="json")),
        "config.json": to_json(trial.spec.config.model_dump(mode="json")),
        "data.json": to_json(book.study.data if book.study else {}),
        "scores.json": to_json([{"step": s.result.stop, "scores": s.result.scores} for s in trial.segments]),
        EVENTS: _event_table(trial),
    }
    if trial.environment is not None:
        files["environment.json"] = to_json(trial.environment.model_dump(mode="json"))
    if trial.decision is not None and trial.decision.traceback:
        files["traceback.txt"] = trial.decision.traceback.encode()
    return files


def stored_files(book: Book, trial: Trial, store: Store) -> dict[str, Callable[[], bytes]]:
    """Return what makes the other files of a trial that has ended, by path; with them a rerun needs no store.

    Each call raises IntegrityError where a blob is missing or corrupt.
    """
    extractor = book.study.extractor if book.study else None
    files: dict[str, Callable[[], bytes]] = {}
    if trial.segments:
        files["history.parquet"] = lambda: _parquet([store.get(segment.result.history) for segment in trial.segments])
    for event in _drawn(trial):
        name = event.kind.replace(":", ".")
        files[f"events/{event.step:06d}-{name}.png"] = partial(_figure, trial, store, event)
    if extractor is not None:
        files[EXTRACTOR] = lambda: store.get(extractor)
    return files


def _drawn(trial: Trial) -> list[Event]:
    """Return the events that have a figure: what ended the trial, then the first of each kind, then the others."""
    found = [event for event in events(trial) if event.step]  # a static check has no signals
    first = [next(event for event in found if event.kind == kind) for kind in dict.fromkeys(e.kind for e in found)]
    ended = [trial.event] if trial.event in found else []
    order = [*ended, *first, *found]
    return [event for place, event in enumerate(order) if event is not None and event not in order[:place]][:FIGURES]


def _figure(trial: Trial, store: Store, event: Event) -> bytes:
    from pipeline.figures import event_figure

    blobs = [store.get(segment.result.history) for segment in trial.segments]
    return event_figure(pa.concat_tables([from_bytes(blob) for blob in blobs]), event)


def generator_files(book: Book, trial: Trial, store: Store) -> dict[str, bytes]:
    """Return a trial's best generator, and what is needed to draw from it; raises as `trial_generator` and `get`."""
    weights, shape = trial_generator(book, trial)
    latent, step = trial.spec.config.latent, trial.best.result.stop if trial.best else None
    about = {"shape": list(shape), "latent": latent.model_dump(mode="json"), "step": step}
    return {"generator.safetensors": store.get(weights), "generator.json": to_json(about)}


def _event_table(trial: Trial) -> bytes:
    """Return the events in the layout of MLflow's tables (pandas' "split")."""
    rows = []
    for event in events(trial):
        row = event.model_dump(mode="json") | {"evidence": json.dumps(event.evidence, sort_keys=True)}
        rows.append([row[column] for column in EVENT_COLUMNS])
    return to_json({"columns": list(EVENT_COLUMNS), "data": rows})


def _parquet(blobs: list[bytes]) -> bytes:
    sink = io.BytesIO()
    pq.write_table(pa.concat_tables([from_bytes(blob) for blob in blobs]), sink)
    return sink.getvalue()


@dataclass(frozen=True, kw_only=True)
class RunBundle:
    """A trial as its MLflow run alone tells it.

    Attributes:
        spec: what was trained.
        environment: that its last segment was trained in.
        data: name, digest, sizes and shape of the data set.
        history: a row a step.
        extractor: the feature extractor's weights, where the study has one.
        scores_by_step: scores by metric, by the step at which they were measured.
    """

    spec: TrialSpec
    environment: Environment
    data: dict[str, Any]
    history: pa.Table
    extractor: bytes | None
    scores_by_step: dict[int, dict[str, float]]


def read_bundle(run_id: str, files: Mapping[str, bytes]) -> RunBundle:
    """Return the trial that a run's files describe.

    Args:
        run_id: named in messages.
        files: by their path in the run; more than `NEEDED` do no harm.

    Raises:
        UserError: files are missing, or hold something else: the run is not a trial of this software that has ended.
    """
    missing = [name for name in NEEDED if name not in files]
    if missing:
        raise UserError(
            f"run {run_id} has no {', '.join(missing)}: it must be the run of a trial that trained and has ended "
            "(`gansearch trials` lists run ids; `gansearch sync` brings MLflow up to date)"
        )
    try:
        return RunBundle(
            spec=TrialSpec.model_validate_json(files["spec.json"]),
            environment=Environment.model_validate_json(files["environment.json"]),
            data=json.loads(files["data.json"]),
            history=pq.read_table(io.BytesIO(files["history.parquet"])),
            extractor=files.get(EXTRACTOR),
            scores_by_step={row["step"]: row["scores"] for row in json.loads(files["scores.json"])},
        )
    except (ValidationError, ValueError, KeyError, TypeError, pa.ArrowException) as error:
        raise UserError(f"run {run_id} is not a trial of this software: {error}") from error
