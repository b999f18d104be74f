"""A worker that does what its trial's parameter `do` says, so that an executor can be seen at work."""

import os
import signal
import sys
from pathlib import Path

from pipeline.ports import Job, Prepared
from pipeline.records import SegmentResult, TrialSpec
from trainers.config import Environment, TrainConfig
from trainers.errors import DataError, IntegrityError

ENVIRONMENT = Environment(device="cpu", cpu="x", python="3", torch="2", numpy="2", threads=1, deterministic=True)
SCRIPTED = "tests.fakes.workers:ScriptedWorker"


def job(do: str, number: int = 0) -> Job:
    spec = TrialSpec(number=number, key=f"uid/{number}", params={"do": do}, config=TrainConfig())
    return Job(spec=spec, attempt=0, checkpoint=None, extractor=None)


class ScriptedWorker:
    """`do` is train, raise, memory, integrity, exit, meet (wait until every party is here) or hang."""

    def __init__(self, store_uri: str) -> None:
        if store_uri == "missing":
            raise DataError("there is no store called missing")
        self.folder = Path(store_uri)
        self.job: Job | None = None
        self.step = 0

    def prepare(self, config: TrainConfig) -> Prepared:
        if config.seed == 13:
            raise DataError("data/unlucky.idx is not there; fetch it")
        return Prepared(metric="frechet", extractor=None, data={"pid": os.getpid()}, environment=ENVIRONMENT)

    def start(self, job: Job) -> SegmentResult:
        self.job, self.step = job, 0
        return self.advance()

    def advance(self) -> SegmentResult:
        assert self.job is not None
        do = str(self.job.spec.params["do"])
        {"raise": self._raise, "memory": self._memory, "integrity": self._integrity, "exit": sys.exit}.get(
            do.split("-", maxsplit=1)[0], self._work
        )()
        self.step += 10
        return SegmentResult(
            start=self.step - 10, stop=self.step, history="0" * 64, samples=None, checkpoint=None, generator=None,
            scores={"frechet": float(self.job.spec.number)}, seconds=0.0, environment=ENVIRONMENT,
        )  # fmt: skip

    def _work(self) -> None:
        do = str(self.job.spec.params["do"])
        if do == "hang":
            (self.folder / "hanging").touch()
            signal.pause()
        if do.startswith("meet"):  # true only if all of them run at once: each waits for all others' files
            parties = int(do.split("-")[1])
            (self.folder / f"here-{self.job.spec.number}").touch()
            while len(list(self.folder.glob("here-*"))) < parties:
                os.sched_yield()

    def _raise(self) -> None:
        raise ZeroDivisionError("the loss divides by zero\nmore about it")

    def _memory(self) -> None:
        raise MemoryError("cannot allocate 10 GiB")

    def _integrity(self) -> None:
        raise IntegrityError("blob abc is corrupt")
