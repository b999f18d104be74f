"""Workers as Ray actors; the only file that imports ray."""

from __future__ import annotations

import functools
import importlib
import logging
import os
import secrets
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import ray
from ray.exceptions import OutOfMemoryError, RayError, RaySystemError, RayTaskError

from pipeline.actor import Actor
from pipeline.ports import Job, Loss, Prepared, cause_of, sentence
from pipeline.records import SegmentResult
from pipeline.resources import capacity, gpu_share, shortfall, totals
from trainers.config import TrainConfig
from trainers.errors import ConfigError, GansearchError, Unreachable

logger = logging.getLogger(__name__)

OBJECT_STORE_BYTES = 200 * 2**20  # answers are small: everything large goes through the store
SHIPPED_PACKAGES = ("pipeline", "trainers", "search_spaces")
LOCAL_PATIENCE, CLUSTER_PATIENCE, END_PATIENCE = 180.0, 600.0, 10.0  # seconds


@dataclass
class _Slot:
    """A worker's name keeps its slot; the actor in it may be replaced."""

    host: Any
    opened: Any  # reference to the answer of `open`
    since: float  # monotonic seconds when the actor was asked for
    call: Any = None  # reference to the outstanding answer


class RayExecutor:
    """The Executor port on Ray: one warm actor a worker, and one outstanding call an actor.

    Args:
        store_uri: what each worker opens its store with.
        workers: how many, at least 1.
        gpus_per_worker: see `pipeline.resources.gpu_share`.
        address: "auto" or "host:port" of a running cluster, one of whose nodes this machine is; None starts Ray here.
            A Ray that this process has initialised already is used and left running.
        worker: "module:name" of the class that the actors make.
        modules: further top-level modules that the workers import: they and our packages are sent to the cluster.
        patience: seconds to wait until every worker has its place; None is 180 here and 600 on a cluster that can grow.

    Raises:
        Unreachable: Ray does not start or answer, or has no room for the workers.
        ConfigError: `workers`, `gpus_per_worker` or `address` breaks its rule.
    """

    def __init__(
        self,
        store_uri: str,
        workers: int,
        gpus_per_worker: float | None = None,
        address: str | None = None,
        *,
        worker: str = "pipeline.worker:Worker",
        modules: Sequence[str] = (),
        patience: float | None = None,
    ) -> None:
        if workers < 1:
            raise ConfigError(f"workers must be at least 1, but got workers={workers}")
        self.workers = tuple(f"worker-{number}" for number in range(workers))
        self._slots: dict[str, _Slot] = {}
        self._error: GansearchError | None = None
        self._owns_ray = not ray.is_initialized()
        if self._owns_ray:
            _start_ray(workers, address, modules)
        try:
            share = gpu_share(gpus_per_worker, workers, totals(ray.nodes())[1])
            self._share, self._spawn = share, functools.partial(_spawn, store_uri, worker, share)
            self._place(may_grow=address is not None, patience=patience)
        except BaseException:
            self.close()
            raise

    def worker_info(self) -> dict[str, dict[str, Any]]:
        """Return the process id, the node and CUDA_VISIBLE_DEVICES of each worker, by its name."""
        return {name: ray.get(slot.opened) for name, slot in self._slots.items()}

    def call(self, function: Callable[[], Any]) -> Any:
        """Return what `function` returns on the first worker; it must be importable there."""
        return self._ask(self._slots[self.workers[0]].host.call.remote(function))

    def prepare(self, config: TrainConfig) -> Prepared:
        """Load the data and train the extractor on the first worker, and return what became of it.

        Raises:
            Unreachable: the worker died of it.
            GansearchError: the worker's own, of the same class.
        """
        prepared: Prepared = self._ask(self._slots[self.workers[0]].host.prepare.remote(config))
        return prepared

    def start(self, worker: str, job: Job) -> None:
        """Put a job on a worker, in place of any that it holds; see the Executor port."""
        slot = self._idle(worker)
        slot.call = slot.host.start.remote(job)

    def advance(self, worker: str) -> None:
        """Ask a worker for its next segment; see the Executor port."""
        slot = self._idle(worker)
        slot.call = slot.host.advance.remote()

    def next(self, timeout: float) -> list[tuple[str, SegmentResult | Loss]]:
        """Wait for at least one answer, or for `timeout` seconds; see the Executor port."""
        if self._error is None:
            answers = [(name, self._answer(name)) for name in self._answered(timeout)]
            given = [(name, answer) for name, answer in answers if answer is not None]
            if given or self._error is None:
                return given
        error, self._error = self._error, None
        raise error

    def close(self) -> None:
        """End the workers and whatever they are doing, and Ray where this executor started it."""
        slots, self._slots = list(self._slots.values()), {}
        if slots and ray.is_initialized():
            for slot in slots:
                ray.kill(slot.host)
            # A killed actor answers with an error: then it is gone.
            ray.wait([slot.host.open.remote() for slot in slots], num_returns=len(slots), timeout=END_PATIENCE)
        if self._owns_ray:
            self._owns_ray = False
            ray.shutdown()

    def _ask(self, reference: Any) -> Any:
        try:
            return ray.get(reference)
        except RayTaskError as error:
            if isinstance(error.cause, ImportError):
                mend = "every node needs the driver's packages"
                raise Unreachable(f"a worker cannot start: {sentence(error.cause)}; {mend}") from error
            raise error.cause from None
        except RayError as error:
            message = f"a worker died before the first trial: {sentence(error)}; Ray's logs of it say more"
            raise Unreachable(message) from error

    def _idle(self, worker: str) -> _Slot:
        slot = self._slots[worker]
        if slot.call is not None:
            raise RuntimeError(f"{worker} has not answered its last call yet")
        return slot

    def _answered(self, timeout: float) -> list[str]:
        """Return the workers whose answer is there, after waiting for at least one."""
        calls = {slot.call: name for name, slot in self._slots.items() if slot.call is not None}
        if not calls:
            return []
        ready, _ = ray.wait(list(calls), timeout=timeout)
        if ready:
            ready, _ = ray.wait(list(calls), num_returns=len(calls), timeout=0)
        else:
            self._mention_homeless()
        return sorted((calls[reference] for reference in ready), key=self.workers.index)

    def _answer(self, name: str) -> SegmentResult | Loss | None:
        """Return a worker's answer, its actor replaced if need be; None where its error waits to be raised."""
        slot = self._slots[name]
        reference, slot.call = slot.call, None
        try:
            answer: SegmentResult | Loss = ray.get(reference)
        except RayTaskError as error:
            if isinstance(error.cause, GansearchError):
                self._error = error.cause
                return None
            answer = Loss(cause=cause_of(error.cause), detail=sentence(error.cause), traceback=str(error))
        except RaySystemError as error:
            self._error = Unreachable(f"Ray itself has failed: {sentence(error)}; the same command goes on")
            return None
        except OutOfMemoryError as error:
            answer = Loss(cause="out_of_memory", detail=f"{name} was ended for its memory", traceback=str(error))
        except RayError as error:  # died, or out of reach: then it is ended, since its state is not known
            answer = Loss(cause="worker_lost", detail=sentence(error), traceback=str(error))
        if isinstance(answer, Loss) and answer.cause != "user_error":
            ray.kill(slot.host)
            self._slots[name] = self._spawn()
        return answer

    def _place(self, *, may_grow: bool, patience: float | None) -> None:
        """Make the actors and wait until each has its place; Ray itself would wait for ever without a word."""
        workers = len(self.workers)
        wait = patience if patience is not None else CLUSTER_PATIENCE if may_grow else LOCAL_PATIENCE
        if capacity(ray.nodes(), self._share) < workers:
            if not may_grow:
                raise Unreachable(self._shortfall())
            logger.warning("giving the cluster %g s to grow: %s", wait, self._shortfall())
        self._slots = {name: self._spawn() for name in self.workers}  # what an autoscaler sees
        deadline, opened = time.monotonic() + wait, [slot.opened for slot in self._slots.values()]
        while True:
            step = max(0.0, min(10.0, deadline - time.monotonic()))
            ready, missing = ray.wait(opened, num_returns=workers, timeout=step)
            for reference in ready:
                self._ask(reference)
            if not missing:
                return
            if time.monotonic() >= deadline:
                raise Unreachable(f"after {wait:g} s {len(ready)} of them had a place: {self._shortfall()}")
            why = self._shortfall() if capacity(ray.nodes(), self._share) < workers else "they are starting"
            logger.warning("waiting for %d of %d workers: %s", len(missing), workers, why)

    def _shortfall(self) -> str:
        mend = "lower workers or gpus_per_worker, wait for other work to end, or add nodes"
        return f"{shortfall(ray.nodes(), len(self.workers), self._share)}; {mend}"

    def _mention_homeless(self) -> None:
        """Say which replaced workers still have no place, some time after they were asked for."""
        for name, slot in self._slots.items():
            late = slot.call is not None and time.monotonic() - slot.since > LOCAL_PATIENCE
            if late and not ray.wait([slot.opened], timeout=0)[0]:
                slot.since = time.monotonic()
                logger.warning("%s waits for a new place: %s", name, self._shortfall())


def _spawn(store_uri: str, worker: str, share: float) -> _Slot:
    env = {"OMP_NUM_THREADS": "1", "CUBLAS_WORKSPACE_CONFIG": ":4096:8"}
    if share == 0:
        env["CUDA_VISIBLE_DEVICES"] = ""  # Ray leaves it alone where no GPU is asked for
    elif share < 1:
        # A trial that needs more than its part fails alone, and not its neighbour; CUDA's contexts need the rest.
        env["PYTORCH_ALLOC_CONF"] = f"per_process_memory_fraction:{0.95 * share:.4f}"
    options = {"num_cpus": 1, "num_gpus": share, "max_restarts": 0, "scheduling_strategy": "SPREAD"}
    host = ray.remote(Actor).options(**options, runtime_env={"env_vars": env}).remote(store_uri, worker)
    return _Slot(host=host, opened=host.open.remote(), since=time.monotonic())


def _start_ray(workers: int, address: str | None, modules: Sequence[str]) -> None:
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nothing is sent unasked
    quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
    if address is None:
        if not {"RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"} & os.environ.keys():
            # Ray would write a token into the home directory, readable by everybody.
            os.environ["RAY_AUTH_TOKEN"] = secrets.token_hex(32)
        where = {"address": "local", "num_cpus": workers, "include_dashboard": False}
        options = where | {"object_store_memory": OBJECT_STORE_BYTES} | quiet
        mend = "RAY_TMPDIR names a short, writable directory for its files"
    else:
        _probe(address)
        paths = [_path(name) for name in (*SHIPPED_PACKAGES, *modules)]
        options = {"address": address, "runtime_env": {"py_modules": paths}} | quiet
        mend = "this machine must be a node of the cluster, with its Ray and Python versions and its token"
        mend += " (RAY_AUTH_MODE=token and RAY_AUTH_TOKEN or RAY_AUTH_TOKEN_PATH)"
    try:
        with _own_signals():
            ray.init(**options)
    except (RayError, OSError, RuntimeError, ValueError, AssertionError) as error:
        ray.shutdown()
        place = "here" if address is None else f"at {address}"
        raise Unreachable(f"Ray does not answer {place}: {sentence(error)}; {mend}") from error


def _path(name: str) -> str:
    module = importlib.import_module(name)
    return str(next(iter(getattr(module, "__path__", [])), module.__file__))


def _probe(address: str) -> None:
    """Find out within seconds whether anything listens; Ray itself takes its time."""
    if address == "auto":
        return
    host, colon, port = address.rpartition(":")
    if "://" in address or not colon or not port.isdecimal():
        raise ConfigError(f"address must be auto or host:port, but got address={address}")
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=5).close()
    except OSError as error:
        mend = "start it (ray start --head), or leave --address out to run here"
        raise Unreachable(f"no Ray cluster answers at {address}: {sentence(error)}; {mend}") from error


@contextmanager
def _own_signals() -> Iterator[None]:
    """Keep our handler of SIGTERM: ray.init puts its own in its place."""
    before = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, before)
