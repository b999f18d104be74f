"""What the search asks of whatever runs its trials: the Executor port, and the words that it speaks."""

from __future__ import annotations

import errno
import re
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from pipeline.records import Cause, LossRecord, SegmentResult, TrialSpec
from trainers.config import Environment, TrainConfig
from trainers.errors import GansearchError, IntegrityError, Unreachable, UserError
from trainers.registry import Part

# What torch says of memory and of a device, the first that fits. A library of CUDA's that has no room for its own
# workspace says that it is not initialized.
_SIGNS: tuple[tuple[Cause, str], ...] = (
    ("host_memory", r"[Cc]an(?:'t|not) allocate memory|HOST_ALLOCATION_FAILED"),
    ("device_memory", r"CUDA.* error: out of memory|OUT_OF_MEMORY|\bCU[A-Z]+_\w*(?:ALLOC\w*_FAILED|NOT_INITIALIZED)\b"),
    ("worker_lost", r"\b(?:CUDA (?:driver )?|cuDNN |cuBLAS |cuFFT |cusolver |cusparse |curand |NCCL |NVRTC )error\b"),
    ("worker_lost", r"\bCU(?:BLAS|DNN|SOLVER|SPARSE|FFT|RAND|DA)_(?:STATUS|ERROR)_|No CUDA GPUs are available"),
)


@dataclass(frozen=True, kw_only=True)
class Job:
    """One attempt at a trial: from its beginning, or from a checkpoint."""

    spec: TrialSpec
    attempt: int  # 0, 1, ...
    checkpoint: str | None  # blob to go on from
    extractor: str | None  # blob: the feature extractor's weights


@dataclass(frozen=True, kw_only=True)
class Loss:
    """An attempt that ended without a segment, and why."""

    cause: Cause
    detail: str  # one sentence
    traceback: str = ""
    blob: str | None = None  # the checkpoint that is corrupt

    def record(self, trial: int, attempt: int, at: float) -> LossRecord:
        """Return the record of it."""
        return LossRecord(at=at, trial=trial, attempt=attempt, cause=self.cause, detail=self.detail, blob=self.blob)


class Prepared(Part):
    """What a worker found out before the first trial: the metric, its extractor's blob and the data."""

    metric: str
    extractor: str | None
    data: dict[str, Any]
    environment: Environment


class Answer(NamedTuple):
    """What became of one call, and of which job: a worker that was out of reach may answer for an old one."""

    worker: str
    trial: int
    attempt: int
    result: SegmentResult | Loss


class Executor(Protocol):
    """Runs one training on each of its workers, a segment at a time; each call of a worker gives exactly one answer."""

    workers: tuple[str, ...]

    def prepare(self, config: TrainConfig, extractor: str | None = None) -> Prepared:
        """Load the data and train the extractor on the first worker, and return what became of it.

        From then on a job that is put on a worker whose machine has other data raises OtherDataError.

        Args:
            config: of a training.
            extractor: blob of one that was trained before; then none is trained.
        """

    def ready(self, worker: str) -> bool:
        """Tell, without waiting, whether a worker has its place; one in the stead of a lost one may wait for it."""

    def start(self, worker: str, job: Job) -> None:
        """Put a job on a worker, in place of any that it holds, and return while its first segment is under way.

        Raises:
            RuntimeError: the worker has not answered its last call yet.
        """

    def advance(self, worker: str) -> None:
        """Ask a worker for the next segment of its job, and return while it is under way.

        Raises:
            RuntimeError: the worker has not answered its last call yet.
        """

    def next(self, timeout: float) -> list[Answer]:
        """Wait for an answer, for `timeout` seconds at most; where none is outstanding, for a worker to become ready.

        A worker that died, or is out of reach, has been replaced, under its name, when its Loss is returned; what the
        old one still answers comes with its own trial and attempt.

        Raises:
            GansearchError: the worker's own, of the same class; no other answer is lost by it.
        """

    def close(self) -> None:
        """End the workers and whatever they are doing; may be called twice."""


class StoppedError(GansearchError):
    """Somebody asked the search to stop before there was anything to suspend."""

    exit_code = 130


class WorkerDiedError(Unreachable):
    """A worker died before there was a trial to blame; another one may fare better."""


class OtherDataError(GansearchError):
    """The machine of a worker has not the data that another one prepared."""

    exit_code = 5


class WorkersGoneError(Unreachable):
    """What runs the workers has ended, and with it all of them: none will answer."""


class CorruptCheckpointError(IntegrityError):
    """A checkpoint is not what was stored; the training can go on from the one before."""

    def __init__(self, blob: str, why: object) -> None:
        """Name the blob, and keep its digest for whoever sets it aside."""
        super().__init__(f"checkpoint {blob} cannot be used: {why}")
        self.blob = blob


def attempt(call: Callable[[], SegmentResult]) -> SegmentResult | Loss:
    """Return what `call` returns, or the Loss that its exception amounts to.

    Raises:
        GansearchError: as `call` raised it, where it concerns more than one trial, such as the store; its text is for
            the user as it stands.
    """
    try:
        with no_exit():
            return call()
    except CorruptCheckpointError as error:
        return Loss(cause="checkpoint", detail=str(error), blob=error.blob)
    except UserError as error:  # of this trial: whoever resumes must not begin with it again, for ever
        return Loss(cause="user_error", detail=str(error), traceback=_story(error))
    except GansearchError:
        raise
    except Exception as error:
        return Loss(cause=cause_of(error), detail=f"{sentence(error)}{_where(error)}", traceback=_story(error))


@contextmanager
def no_exit() -> Iterator[None]:
    """Make an error of a SystemExit: of user's code it is no reason to end a worker, and begin it again."""
    try:
        yield
    except SystemExit as error:
        raise RuntimeError(f"what was trained would end its process ({error!r})") from error


def cause_of(error: BaseException) -> Cause:
    """Tell a lack of memory and a broken device from a mistake in the code that ran.

    torch's classes are known by their names: a driver need not import torch. CUDA's own libraries fail with a plain
    RuntimeError, which is known by its text. A kernel that failed leaves its process without a usable device, so that
    worker counts as lost.
    """
    names, text = {cls.__name__ for cls in type(error).__mro__}, str(error)
    if "MemoryError" in names or (isinstance(error, OSError) and error.errno == errno.ENOMEM):
        return "host_memory"
    if "OutOfMemoryError" in names:
        return "device_memory"
    if not isinstance(error, RuntimeError):
        return "user_error"
    found = (cause for cause, signs in _SIGNS if re.search(signs, text))
    return next(found, "worker_lost" if "AcceleratorError" in names else "user_error")


def _where(error: Exception) -> str:
    """Return the line that raised it, in the code that called a library rather than in the library."""
    own = last_own_frame(error)
    return "" if own is None else f" at {own.filename}:{own.lineno}"


def last_own_frame(error: BaseException) -> traceback.FrameSummary | None:
    """Return where an error came from: the last line that is not in a library; None where all of them are."""
    frames = traceback.extract_tb(error.__traceback__)
    return next((frame for frame in reversed(frames) if "site-packages" not in Path(frame.filename).parts), None)


def _story(error: Exception) -> str:
    return "".join(traceback.format_exception(error))


def sentence(error: BaseException) -> str:
    """Return an exception as one line: its class and the first line of its text."""
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__
