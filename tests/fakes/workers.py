"""A worker that does what its trial's parameter `do` says, so that an executor can be seen at work."""

import os
import signal
import sys
import time
from pathlib import Path

from pipeline.ports import CorruptCheckpointError, Job, OtherDataError, Prepared
from pipeline.records import SegmentResult, TrialSpec
from tests.fakes.inline_executor import Death
from trainers.config import Environment, TrainConfig
from trainers.errors import ConfigError, DataError, IntegrityError

ENVIRONMENT = Environment(device="cpu", cpu="x", python="3", torch="2", numpy="2", threads=1, deterministic=True)
SCRIPTED = "tests.fakes.workers:ScriptedWorker"


def job(do: str, number: int = 0, attempt: int = 0) -> Job:
    spec = TrialSpec(number=number, key=f"uid/{number}", params={"do": do}, config=TrainConfig())
    return Job(spec=spec, attempt=attempt, checkpoint=None, extractor=None)


class ScriptedWorker:
    """Does what the name in `do` says, which may have a number after a '-'.

    train, raise, refuse, memory, integrity, checkpoint, other, exit, leave, hang; eat: until there is no memory left;
    meet: wait until so many are here; wait: until the file `go-on` is there.
    """

    def __init__(self, store_uri: str) -> None:
        if store_uri == "missing":
            raise DataError("there is no store called missing")
        self.folder = Path(store_uri)
        if (self.folder / "gone").exists():
            raise DataError("there is nothing left in the store")
        if (self.folder / "dies").exists():
            os._exit(1)
        self.job: Job | None = None
        self.step = 0

    def prepare(self, config: TrainConfig, extractor: str | None = None) -> Prepared:
        if config.seed == 13:
            raise DataError("data/unlucky.idx is not there; fetch it")
        if config.seed == 14:
            os._exit(1)
        trained = "f" * 64 if extractor is None else extractor
        found = {"pid": os.getpid(), "digest": "d"}
        return Prepared(metric="frechet", extractor=trained, data=found, environment=ENVIRONMENT)

    def start(self, job: Job, data: str | None) -> SegmentResult:
        self.job, self.step, self.data = job, 0, data
        return self.advance()

    def advance(self) -> SegmentResult:
        assert self.job is not None
        do, _, number = str(self.job.spec.params["do"]).partition("-")
        if do != "train":
            getattr(self, f"_{do}")(*map(int, number.split()))
        self.step += 10
        return SegmentResult(
            start=self.step - 10, stop=self.step, history="0" * 64, samples=None, checkpoint=None, generator=None,
            scores={"frechet": float(self.job.spec.number)}, seconds=0.0, environment=ENVIRONMENT,
        )  # fmt: skip

    def _other(self) -> None:
        raise OtherDataError(f"here are other data than {self.data}")

    def _exit(self) -> None:
        """Die, as a process of Ray, or as the one in which all workers are."""
        if Path(sys.argv[0]).name == "default_worker.py":
            os._exit(1)
        raise Death

    def _leave(self) -> None:
        sys.exit(3)

    def _hang(self) -> None:
        (self.folder / "hanging").touch()
        signal.pause()

    def _wait(self) -> None:
        (self.folder / "waiting").touch()
        while not (self.folder / "go-on").exists():
            time.sleep(0.01)

    def _meet(self, parties: int) -> None:
        """Return only where all of them run at once: each waits for all others' files."""
        (self.folder / f"here-{self.job.spec.number}").touch()
        while len(list(self.folder.glob("here-*"))) < parties:
            os.sched_yield()

    def _eat(self) -> None:
        food = []
        for _ in range(400):  # at most 20 GB, and slowly enough to be seen
            food.append(b"1" * 50_000_000)
            time.sleep(0.05)

    def _raise(self) -> None:
        raise ZeroDivisionError("the loss divides by zero\nmore about it")

    def _refuse(self) -> None:
        raise ConfigError("network dcgan needs square images")

    def _memory(self) -> None:
        raise MemoryError("cannot allocate 10 GiB")

    def _integrity(self) -> None:
        raise IntegrityError("blob abc is corrupt")

    def _checkpoint(self) -> None:
        raise CorruptCheckpointError("c" * 64, "it is missing")
