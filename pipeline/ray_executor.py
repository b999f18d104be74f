"""Workers as Ray actors."""

from __future__ import annotations

import functools
import logging
import time
from collections.abc import Callable, Sequence
from typing import Any

from pipeline import ray_options  # before ray, which reads the environment  # isort: skip

import ray
from ray.exceptions import ActorUnavailableError, RayError, RaySystemError, RayTaskError

from pipeline.ports import Answer, Job, Loss, Prepared, WorkerDiedError, WorkersGoneError, cause_of, sentence
from pipeline.ray_errors import loss
from pipeline.ray_places import Places
from pipeline.ray_slot import NEVER_BEGAN, NodeHealth, Slot, has_opened, node_id, on_dead_node, refusal, spawn
from pipeline.records import SegmentResult
from pipeline.resources import gpu_share, is_dead, totals
from trainers.config import TrainConfig
from trainers.errors import ConfigError, GansearchError

logger = logging.getLogger(__name__)

ROOM_PATIENCE, END_PATIENCE = 30.0, 10.0  # seconds
NO_FAULT_OF_THE_WORKER = ("user_error", "checkpoint")  # causes after which its process is as good as before


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
        should_stop: asked often while the first answers are waited for.
        room_patience: seconds that a worker out of reach may keep the place that the one in its stead waits for.
        patience: seconds to wait until every worker has its place; None is 180 here and 600 on a cluster that can grow.

    Raises:
        Unreachable: Ray does not start or answer, or has no room for the workers.
        ConfigError: `workers`, `gpus_per_worker` or `address` breaks its rule.
        StoppedError: `should_stop` said so.
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
        room_patience: float = ROOM_PATIENCE,
        should_stop: Callable[[], bool] = lambda: False,
    ) -> None:
        if workers < 1:
            raise ConfigError(f"workers must be at least 1, but got workers={workers}")
        self.workers = tuple(f"worker-{number}" for number in range(workers))
        self._slots: dict[str, Slot] = {}
        self._unreachable: list[Slot] = []  # others have taken their places
        self._error: GansearchError | None = None
        self._data: str | None = None  # digest of what was prepared
        self._should_stop, self._room_patience = should_stop, room_patience
        self._nodes = NodeHealth()
        self._owns_ray = not ray.is_initialized()
        if self._owns_ray:
            ray_options.begin(ray.init, ray.shutdown, workers, address, modules)
        try:
            share = gpu_share(gpus_per_worker, workers, totals(ray.nodes())[1])
            self._places = Places(
                self._slots,
                functools.partial(spawn, store_uri, worker, share),
                share,
                may_grow=address is not None,
                patience=patience,
                should_stop=should_stop,
            )
            self._places.take(self.workers)
        except BaseException:
            self.close()
            raise

    def worker_info(self) -> dict[str, dict[str, Any]]:
        """Return the process id, the node and CUDA_VISIBLE_DEVICES of each worker, by its name."""
        return {name: ray.get(slot.opened) for name, slot in self._slots.items()}

    def call(self, function: Callable[[], Any]) -> Any:
        """Return what `function` returns on the first worker; it must be importable there."""
        return self._places.ask(self._slots[self.workers[0]].host.call.remote(function))

    def prepare(self, config: TrainConfig, extractor: str | None = None) -> Prepared:
        """Load the data and train the extractor on the first worker; see the Executor port.

        Raises:
            WorkerDiedError: the worker died of it, and so did those in its stead.
            GansearchError: the worker's own, of the same class.
        """
        name = self.workers[0]
        while True:
            self._places.wait()
            try:
                prepared: Prepared = self._places.ask(self._slots[name].host.prepare.remote(config, extractor))
            except WorkerDiedError as error:
                self._places.begin_again(name, error)
            else:
                self._data = prepared.data.get("digest")
                return prepared

    def ready(self, worker: str) -> bool:
        """Tell, without waiting, whether a worker has its place; see the Executor port."""
        slot = self._slots[worker]
        if slot.call is None and (why := self._nodes.why_replace(slot)) is not None:
            logger.warning("%s had nothing to do and is replaced: %s", worker, why)
            self._keep(refusal(slot))
            ray.kill(slot.host)
            slot = self._places.replace(worker, vain=slot.vain + 1 if why == NEVER_BEGAN else 0)
        return has_opened(slot) and not self._nodes.in_doubt(slot)

    def start(self, worker: str, job: Job) -> None:
        """Put a job on a worker, in place of any that it holds; see the Executor port."""
        slot = self._idle(worker)
        slot.hold(job.spec.number, job.attempt)
        slot.expect(slot.host.start.remote(job, self._data), time.monotonic())

    def advance(self, worker: str) -> None:
        """Ask a worker for its next segment; see the Executor port."""
        slot = self._idle(worker)
        slot.expect(slot.host.advance.remote(), time.monotonic())

    def next(self, timeout: float) -> list[Answer]:
        """Wait for at least one answer, or for `timeout` seconds; see the Executor port."""
        if self._error is None:
            answers = [self._answer(slot) for slot in self._answered(timeout)]
            self._mention_slow()
            given = [answer for answer in answers if answer is not None] + self._late_answers()
            if given or self._error is None:
                return given
        error, self._error = self._error, None
        raise error

    def close(self) -> None:
        """End the workers and whatever they are doing, and Ray where this executor started it."""
        slots = [*self._slots.values(), *self._unreachable]
        self._slots.clear()
        self._unreachable.clear()
        if slots and ray.is_initialized():
            for slot in slots:
                ray.kill(slot.host)
            # A killed actor answers with an error: then it is gone.
            ray.wait([slot.host.late.remote(0) for slot in slots], num_returns=len(slots), timeout=END_PATIENCE)
        if self._owns_ray:
            self._owns_ray = False
            ray.shutdown()

    def _idle(self, worker: str) -> Slot:
        slot = self._slots[worker]
        if slot.call is not None:
            raise RuntimeError(f"{worker} has not answered its last call yet")
        return slot

    def _answered(self, timeout: float) -> list[Slot]:
        """Return the workers whose answer is there, after waiting for one, or for a place where nothing is trained."""
        calls = {slot.call: slot for slot in self._slots.values() if slot.call is not None}
        homeless = [slot.opened for slot in self._slots.values() if not has_opened(slot)]
        if not calls and not homeless:
            time.sleep(0.0 if all(map(self.ready, self.workers)) else timeout)
            return []
        if not ray.wait(list(calls) or homeless, timeout=timeout)[0] and not self._should_stop():
            # Who stops us may have ended Ray's head, too: what is asked of it then ends this process after a minute.
            self._notice_own_node()
            self._places.mention_homeless()
        ready = ray.wait(list(calls), num_returns=len(calls), timeout=0)[0] if calls else []
        return [slot for reference, slot in calls.items() if reference in ready]

    def _answer(self, slot: Slot) -> Answer | None:
        """Return a worker's answer, its actor replaced if need be; None where its error waits to be raised."""
        reference = slot.answered(time.monotonic())
        out_of_reach = False
        try:
            result: SegmentResult | Loss = ray.get(reference)
        except RayTaskError as error:
            if isinstance(error.cause, GansearchError):
                self._keep(error.cause)
                return None
            result = Loss(cause=cause_of(error.cause), detail=sentence(error.cause), traceback=str(error))
        except RaySystemError as error:
            self._keep(WorkersGoneError(f"Ray itself has failed: {sentence(error)}; the same command goes on"))
            return None
        except RayError as error:
            out_of_reach = isinstance(error, ActorUnavailableError)
            result = loss(error, slot.name, node_dead=not self._should_stop() and on_dead_node(slot))
        if isinstance(result, Loss) and result.cause in ("node_lost", "preemption"):
            self._nodes.lost(slot)
        if isinstance(result, Loss) and result.cause not in NO_FAULT_OF_THE_WORKER and not self._should_stop():
            self._replace(slot, out_of_reach=out_of_reach)
        return Answer(slot.name, slot.trial, slot.attempt, result)

    def _replace(self, slot: Slot, *, out_of_reach: bool) -> None:
        if out_of_reach:
            slot.late = slot.host.late.remote(slot.calls)
            self._unreachable.append(slot)
        else:
            ray.kill(slot.host)
        self._places.replace(slot.name)

    def _keep(self, error: GansearchError | None) -> None:
        """Keep an error until it can be raised; of several the first, which the others may follow from."""
        self._error = self._error or error

    def _late_answers(self) -> list[Answer]:
        """Look, without waiting, after the workers that were out of reach, so that none trains on unseen."""
        found = []
        for slot in list(self._unreachable):
            result: SegmentResult | Loss | None = None
            if ray.wait([slot.late], timeout=0)[0]:
                try:
                    result = ray.get(slot.late)
                    logger.warning("%s is in reach again, but another has its place: it is ended", slot.name)
                except ActorUnavailableError:
                    slot.late = slot.host.late.remote(slot.calls)
                    continue
                except RayError as error:
                    logger.info("%s, which was out of reach, has died: %s", slot.name, sentence(error))
            elif not self._stands_in_the_way(slot):
                continue
            ray.kill(slot.host)
            self._unreachable.remove(slot)
            if result is not None:
                found.append(Answer(slot.name, slot.trial, slot.attempt, result))
        return found

    def _stands_in_the_way(self, slot: Slot) -> bool:
        """Tell whether the worker in the stead of one that is out of reach has waited long enough for a place."""
        waits = self._slots[slot.name]
        return time.monotonic() - waits.since > self._room_patience and not has_opened(waits)

    def _mention_slow(self) -> None:
        now = time.monotonic()
        for slot in self._slots.values():
            if slot.seems_to_hang(now):
                took, before = now - slot.called, slot.longest
                told = (
                    "trial %d on %s: a segment has taken %.0f s so far, those before it %.0f s at most; does it hang?"
                )
                logger.warning(told, slot.trial, slot.name, took, before)

    def _notice_own_node(self) -> None:
        """A driver whose own node has died gets no worker anywhere: Ray does not let it join another."""
        if is_dead(ray.nodes(), node_id()):
            told = "Ray's node on this machine has died; the same command starts it again and goes on"
            self._keep(WorkersGoneError(told))
