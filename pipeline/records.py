"""TrialSpec, TrialState, journal records: the words that every other file speaks."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any, Literal

from pydantic import Field, TypeAdapter

from trainers.config import Environment, TrainConfig
from trainers.registry import Part, Text
from trainers.stability.events import Event

SCHEMA = 1
# Of a study or a registered model, and of an alias: parts of paths and of MLflow's queries, also where they are read.
NAME = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$"
ALIAS = r"^[a-z][a-z0-9_-]{0,127}$"
Scalar = bool | int | float | str
Origin = Literal["enqueued", "default", "sampled"]
# Why an attempt ended without an outcome. `checkpoint`: the one to go on from is corrupt; `preemption`: the node was
# taken away by whoever lent it; the two sorts of memory are the machine's and the GPU's.
Cause = Literal["worker_lost", "node_lost", "preemption", "host_memory", "device_memory", "checkpoint", "user_error"]
Seconds = float  # since 1970-01-01 UTC, by the driver's clock


class TrialState(StrEnum):
    """Where a trial stands; a final state never changes."""

    RUNNING = "running"
    SUSPENDED = "suspended"
    COMPLETED = "completed"
    PRUNED = "pruned"
    DIVERGED = "diverged"
    FAILED = "failed"

    @property
    def final(self) -> bool:
        """Whether this state is the last one that a trial has."""
        return self not in (TrialState.RUNNING, TrialState.SUSPENDED)

    @property
    def counts(self) -> bool:
        """Whether a trial in this state uses up the budget of `trials`."""
        return self in (TrialState.COMPLETED, TrialState.PRUNED, TrialState.DIVERGED)


class TrialSpec(Part):
    """A trial as it was asked for: what the sampler chose, and the whole configuration that follows from it."""

    number: int = Field(ge=0)
    # "<study uid>/<number>": a trial's identity everywhere, also when its MLflow run is made anew
    key: str = Field(pattern=r"^[A-Za-z0-9-]{1,64}/[0-9]{1,9}$")
    params: dict[str, Scalar]  # by dotted config key; `space` names the chosen branch of a union
    config: TrainConfig
    origin: Origin = "sampled"


class SegmentResult(Part):
    """What a worker says of one segment; everything large is a blob in the store, named by its digest."""

    start: int
    stop: int
    history: str  # blob: Arrow IPC file, a row a step
    samples: str | None  # blob: .npy, uint8 images [n, channels, height, width] or float32 points [n, 2]
    checkpoint: str | None  # blob: everything that resuming needs (trainers.state)
    generator: str | None  # blob: safetensors of the EMA generator
    scores: dict[str, float]  # by metric name; the first one is the trial's score
    events: tuple[Event, ...] = ()
    seconds: float  # of training and evaluation on the device
    environment: Environment

    @property
    def score(self) -> float | None:
        """The first metric's value, or None where the segment was not evaluated."""
        return next(iter(self.scores.values()), None)

    @property
    def stopping(self) -> Event | None:
        """The first event that ends the training, if any."""
        return next((event for event in self.events if event.action == "stop"), None)


# -- the journal -------------------------------------------------------------------------------------------------------


class _Record(Part):
    at: Seconds


class StudyRecord(_Record):
    """The study begins; its configuration is what later drivers are compared with."""

    kind: Literal["study"] = "study"
    schema_: int = Field(SCHEMA, alias="schema")
    study: str = Field(pattern=NAME)
    uid: str = Field(pattern=r"^[A-Za-z0-9-]{1,64}$")
    config: dict[str, Any]  # SearchConfig as JSON
    metric: str  # what is minimised, for example "frechet_1a2b3c4d"
    extractor: str | None  # blob: the feature extractor's weights
    data: dict[str, Any]  # name, digest, train and held-out sizes, shape, licence
    versions: dict[str, str]
    code: str  # digest of the sources of trainers/


class BudgetRecord(_Record):
    """A later driver goes on with a larger budget, or with a difference that the user allowed."""

    kind: Literal["budget"] = "budget"
    config: dict[str, Any]
    allowed: tuple[str, ...] = ()  # what differs, in words


class TrialRecord(_Record):
    """A trial was asked for."""

    kind: Literal["trial"] = "trial"
    spec: TrialSpec
    begins: int = Field(0, ge=0)  # virtual time, in steps: that of the place which it took (`schedule: reproducible`)


class AttemptRecord(_Record):
    """A trial starts, or goes on, on a worker."""

    kind: Literal["attempt"] = "attempt"
    trial: int
    attempt: int  # 0, 1, ...
    worker: str
    step: int  # resumed from here


class SegmentRecord(_Record):
    """A segment is committed."""

    kind: Literal["segment"] = "segment"
    trial: int
    attempt: int
    index: int  # 0, 1, ...
    result: SegmentResult


class LossRecord(_Record):
    """An attempt ended without an outcome: its worker died, say, or its device ran out of memory."""

    kind: Literal["loss"] = "loss"
    trial: int
    attempt: int
    cause: Cause
    detail: Text = ""
    blob: str | None = None  # the corrupt checkpoint, which was set aside and is not used again


class LateRecord(_Record):
    """An answer came from an attempt that another one had replaced; it was ignored."""

    kind: Literal["late"] = "late"
    trial: int
    attempt: int
    worker: str


class DecisionRecord(_Record):
    """What became of a trial; a trial has exactly one decision with a final state."""

    kind: Literal["decision"] = "decision"
    trial: int
    state: TrialState
    reason: Text
    event: Event | None = None
    score: float | None = None
    best_index: int | None = None  # the segment whose score and generator count
    traceback: Text = ""


class FinishRecord(_Record):
    """The budget is used up; the generators of the best trials are kept for good, and shown as models."""

    kind: Literal["finish"] = "finish"
    best: tuple[int, ...]  # trials, the best first


class RunRecord(_Record):
    """The MLflow run that shows a trial, or the study where `trial` is None."""

    kind: Literal["run"] = "run"
    trial: int | None
    run_id: str
    tracking_uri: str


class RegistrationRecord(_Record):
    """A generator entered the model registry."""

    kind: Literal["registration"] = "registration"
    trial: int
    run_id: str
    model: str = Field(pattern=NAME)
    version: int
    alias: str = Field(pattern=ALIAS)
    gates: tuple[dict[str, Any], ...] = ()


Record = Annotated[
    StudyRecord
    | BudgetRecord
    | TrialRecord
    | AttemptRecord
    | SegmentRecord
    | LossRecord
    | LateRecord
    | DecisionRecord
    | FinishRecord
    | RunRecord
    | RegistrationRecord,
    Field(discriminator="kind"),
]
RECORD: TypeAdapter[Record] = TypeAdapter(Record)
