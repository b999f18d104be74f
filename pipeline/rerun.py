"""Train a recorded trial again, here and without Ray, and compare every step."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import yaml

from pipeline.artifacts import RunBundle
from pipeline.book import Book, Trial
from pipeline.policies import collected
from pipeline.ports import last_own_frame, sentence
from pipeline.projection import trial_generator
from pipeline.store import Store
from trainers import data, loop
from trainers.config import Environment, TrainConfig
from trainers.environment import configure, describe
from trainers.errors import ConfigError, GansearchError, IntegrityError, StateConflict, UserError
from trainers.history_file import from_bytes
from trainers.loop import Segment
from trainers.picture import centres_of, write_png

RTOL = 1e-3  # between environments, whose vector units round differently


@dataclass(frozen=True, kw_only=True)
class Verification:
    """What `rerun --verify` found.

    Attributes:
        trial: number.
        steps_compared: recorded steps that were trained again.
        identical: whether every recorded value has the same bits; None in another environment.
        first_difference: the first step that differs (elsewhere: by more than RTOL), with the signal and both values.
        same_environment: whether device, versions and threads are those of the recorded training.
        scores: by step, recorded and trained again.
        environment: here.
    """

    trial: int
    steps_compared: int
    identical: bool | None
    first_difference: dict[str, Any] | None
    same_environment: bool
    scores: dict[int, dict[str, Any]]
    environment: Environment

    def document(self) -> dict[str, Any]:
        """Return what `gansearch rerun --verify --format json` prints."""
        found = {
            "trial": self.trial,
            "steps_compared": self.steps_compared,
            "identical": self.identical,
            "first_difference": self.first_difference,
            "same_environment": self.same_environment,
        }
        return found if self.same_environment else found | {"scores": self.scores}


def from_store(book: Book, store: Store, number: int) -> RunBundle:
    """Return a trial of a study as the same bundle that its MLflow run gives.

    Raises:
        ConfigError: the trial has not trained a step, so there is nothing to train again.
        IntegrityError: a stored history is not what was stored.
    """
    trial, study = book.trials[number], book.study
    environment = trial.environment
    if environment is None or study is None:
        raise ConfigError(f"trial {number} has trained no step, so there is nothing to compare")
    return RunBundle(
        spec=trial.spec,
        environment=environment,
        data=study.data,
        history=pa.concat_tables([from_bytes(store.get(segment.result.history)) for segment in trial.segments]),
        extractor=None if study.extractor is None else store.get(study.extractor),
        scores_by_step={s.result.stop: s.result.scores for s in trial.segments},
    )


def weights_of(book: Book, store: Store, trial: Trial, say: Callable[[str], None]) -> bytes:
    """Return a trial's best EMA generator: the stored one, or, where it was collected, by training it again.

    Args:
        book: of the study.
        store: that holds its blobs; nothing is put there.
        trial: of the study.
        say: told that it is trained again, and where the result need not have the recorded bits.

    Returns:
        Safetensors; in the recorded environment those that were scored, bit for bit.

    Raises:
        NotGoodEnough: the trial has no generator.
        StateConflict: the data set here is not the one that was trained on.
        IntegrityError: the stored one is missing or corrupt though it was not collected, or the same environment gave
            another one.
    """
    digest, _ = trial_generator(book, trial)
    if not collected(book, trial):
        return store.get(digest)
    with suppress(IntegrityError):  # what is collected may be there still
        return store.get(digest)
    best, study, spec = trial.best, book.study, trial.spec
    if best is None or study is None:
        raise AssertionError("what has a generator has a best segment")
    steps = best.result.stop
    say(f"trial {trial.number}'s weights were collected; training it again ({steps} steps)")
    _check_data(spec.config, study.data)
    here = describe(spec.config, configure(spec.config))
    same = all(segment.result.environment == here for segment in trial.segments[: best.index + 1])
    extractor = None if study.extractor is None else store.get(study.extractor)
    trained = (s for s in loop.train(spec.config, extractor=extractor) if s.stop >= steps or s.stopped)
    weights: bytes = next(trained).generator(spec.key)  # as the worker names its owner
    if (got := hashlib.sha256(weights).hexdigest()) == digest:
        return weights
    if same:
        raise IntegrityError(f"trial {trial.number}, trained again to step {steps}, gave generator {got}, not {digest}")
    say(f"trial {trial.number} was trained in another environment: these weights are not those that were scored")
    return weights


def _check_data(config: TrainConfig, trained_on: Mapping[str, Any]) -> None:
    """Raise StateConflict if the data set here is not the one that was trained on."""
    here, recorded = data.load(config.data).digest, trained_on.get("digest")
    if recorded != here:
        raise StateConflict(
            f"the data set {config.data.name!r} here has digest {here[:12]}, "
            f"but the trial was trained on {str(recorded)[:12]}"
        )


def verify(bundle: RunBundle, config: TrainConfig, watch: Callable[[Segment], None]) -> Verification:
    """Train the recorded steps again and compare each with the record.

    Args:
        bundle: the recorded trial.
        config: what to train; the recorded configuration, unless a difference is wanted.
        watch: is shown each segment.
    """
    _check_data(bundle.spec.config, bundle.data)
    compared, difference, scores = 0, None, dict[int, dict[str, Any]]()
    environment = describe(config, configure(config))
    same = environment == bundle.environment
    recorded = max([bundle.history.num_rows, *bundle.scores_by_step])  # of a history without its end, still the end
    recorded = min(recorded, config.steps) if config.steps != bundle.spec.config.steps else recorded
    for segment in trained(config, bundle.extractor):
        part = bundle.history.slice(segment.start, segment.stop - segment.start)
        again = pa.Table.from_batches([segment.history]).slice(0, part.num_rows)
        difference = first_difference(part, again, exact=same)
        scores[segment.stop] = {"recorded": bundle.scores_by_step.get(segment.stop), "again": dict(segment.scores)}
        compared += part.num_rows
        watch(segment)
        if difference is not None or segment.stop >= recorded:
            break
    if difference is None and compared < recorded:
        difference = _missing_step(compared + 1, in_record=compared >= bundle.history.num_rows)
    if difference is None and same:
        difference = _score_difference(scores)
    return Verification(
        trial=bundle.spec.number,
        steps_compared=compared,
        identical=difference is None if same else None,
        first_difference=difference,
        same_environment=same,
        scores=scores,
        environment=environment,
    )


def _missing_step(step: int, *, in_record: bool) -> dict[str, Any]:
    there = {"recorded": None, "again": step} if in_record else {"recorded": step, "again": None}
    return {"step": step, "signal": "step", **there}


def first_difference(recorded: pa.Table, again: pa.Table, *, exact: bool) -> dict[str, Any] | None:
    """Return the first step at which two histories differ, or None.

    Args:
        recorded: a row a step.
        again: the same steps.
        exact: compare bits (NaN equals NaN of the same bits); else relatively, to RTOL.
    """
    found: list[tuple[int, str]] = []
    for name in recorded.column_names:
        ours, theirs = recorded[name], again[name]
        differs = _valid(ours) != _valid(theirs)
        differs |= _bits(ours) != _bits(theirs) if exact else ~_close(ours, theirs)
        if differs.any():
            found.append((int(np.flatnonzero(differs)[0]), name))
    if not found:
        return None
    row, name = min(found)
    return {
        "step": recorded["step"][row].as_py(),
        "signal": name,
        "recorded": _shown(recorded[name][row].as_py()),
        "again": _shown(again[name][row].as_py()),
    }


def _valid(column: pa.ChunkedArray) -> npt.NDArray[np.bool_]:
    return np.array(column.is_valid(), dtype=np.bool_)


def _values(column: pa.ChunkedArray) -> npt.NDArray[Any]:
    return np.asarray(column.fill_null(0))


def _bits(column: pa.ChunkedArray) -> npt.NDArray[Any]:
    values = _values(column)
    return values.view(f"u{values.dtype.itemsize}")


def _close(ours: pa.ChunkedArray, theirs: pa.ChunkedArray) -> npt.NDArray[np.bool_]:
    return np.asarray(np.isclose(_values(ours), _values(theirs), rtol=RTOL, equal_nan=True), dtype=np.bool_)


def _shown(value: float | None) -> float | str | None:
    """Return a value that JSON can hold without loss: hexadecimal where decimals would hide the last bit."""
    return value if value is None or isinstance(value, int) else value.hex()


def _score_difference(scores: dict[int, dict[str, Any]]) -> dict[str, Any] | None:
    for step, pair in scores.items():
        if pair["recorded"] is not None and pair["recorded"] != pair["again"]:
            return {"step": step, "signal": "score", **pair}
    return None


def trained(config: TrainConfig, extractor: bytes | None) -> Iterator[Segment]:
    """Yield the segments of a training here.

    Raises:
        UserError: code that is not ours failed in it.
    """
    try:
        yield from loop.train(config, extractor=extractor)
    except (Exception, SystemExit) as error:
        place = last_own_frame(error)
        ours = place is None or Path(loop.__file__).parent in Path(place.filename).parents
        if isinstance(error, GansearchError) or (ours and isinstance(error, Exception)):
            raise
        where = "" if place is None else f" at {place.filename}:{place.lineno}"
        raise UserError(f"the training failed: {sentence(error)}{where}") from error


def train_here(bundle: RunBundle, config: TrainConfig, watch: Callable[[Segment], None]) -> list[Segment]:
    """Train a configuration here with a recorded trial's extractor, and return its segments.

    Args:
        bundle: the recorded trial.
        config: what to train.
        watch: is shown each segment.
    """
    segments = []
    extractor = bundle.extractor if config.data == bundle.spec.config.data else None
    for segment in trained(config, extractor):
        segments.append(segment)
        watch(segment)
    return segments


def keeper(out: Path | None, config: TrainConfig) -> Callable[[Segment], None]:
    """Return what keeps each segment's samples, the generator and the configuration in a folder, made if missing."""
    if out is None:
        return lambda _: None
    try:
        out.mkdir(parents=True, exist_ok=True)
        (out / "config.yaml").write_text(yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False))
    except OSError as error:
        raise ConfigError(
            f"--out must be a folder that can be written, but got --out {out}: {error.strerror}"
        ) from error

    centres = centres_of(config)

    def keep(segment: Segment) -> None:
        samples = out / f"samples-{segment.stop:08d}.png"
        if not write_png(segment.samples, samples, centres):
            samples.with_suffix(".npy").write_bytes(segment.pictured())
        (out / "generator.safetensors").write_bytes(segment.generator())

    return keep


def environment_difference(recorded: Environment, here: Environment) -> list[str]:
    """Return, one line each, what differs between two environments."""
    ours, theirs = recorded.model_dump(), here.model_dump()
    return [f"{key}: recorded {ours[key]}, here {theirs[key]}" for key in ours if ours[key] != theirs[key]]
