"""The places of an executor's workers on Ray: asked for, waited for, and given to others."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from typing import Any

import ray
from ray.exceptions import RayError

from pipeline.ports import StoppedError, WorkerDiedError
from pipeline.ray_errors import before_training
from pipeline.ray_slot import Slot, has_opened
from pipeline.resources import capacity, shortfall
from trainers.errors import Unreachable

logger = logging.getLogger(__name__)

LOOK, NEWS = 0.5, 10.0  # seconds between two looks at whether to stop, and between two lines for the user
LOCAL_PATIENCE, CLUSTER_PATIENCE = 180.0, 600.0  # seconds
CHANCES = 3  # workers that may die before the first trial


class Places:
    """An actor under each worker's name.

    Args:
        slots: by the workers' names; kept up to date here.
        spawn: asks for an actor, and returns at once.
        share: GPUs of each.
        may_grow: whether the cluster may get more nodes.
        patience: seconds to wait until every worker has its place; None is 180 here and 600 on a cluster that can grow.
        should_stop: asked often while something is waited for.
    """

    def __init__(
        self,
        slots: dict[str, Slot],
        spawn: Callable[[str], Slot],
        share: float,
        *,
        may_grow: bool,
        patience: float | None,
        should_stop: Callable[[], bool],
    ) -> None:
        self._slots, self._spawn, self._share = slots, spawn, share
        self._may_grow, self._should_stop, self._chances = may_grow, should_stop, CHANCES
        self._patience = patience if patience is not None else CLUSTER_PATIENCE if may_grow else LOCAL_PATIENCE

    def take(self, workers: Sequence[str]) -> None:
        """Make the actors of workers with these names, and wait until each has its place.

        Raises:
            Unreachable: there is no room, or not in time.
        """
        if capacity(ray.nodes(), self._share) < len(workers):
            if not self._may_grow:
                raise Unreachable(self._shortfall(len(workers)))
            logger.warning("giving the cluster %g s to grow: %s", self._patience, self._shortfall(len(workers)))
        for name in workers:
            self.replace(name)  # what an autoscaler sees
        self.wait()

    def wait(self) -> None:
        """Wait until each worker has its place; Ray itself would wait for ever without a word.

        Raises:
            Unreachable: not in time.
        """
        workers = len(self._slots)
        deadline, tell = time.monotonic() + self._patience, time.monotonic() + NEWS
        while missing := [slot for slot in self._slots.values() if not self._has_place(slot)]:
            self._stop_if_asked()
            if time.monotonic() >= deadline:
                placed = workers - len(missing)
                raise Unreachable(
                    f"after {self._patience:g} s {placed} of them had a place: {self._shortfall(workers)}"
                )
            if time.monotonic() >= tell:
                tell += NEWS
                room = capacity(ray.nodes(), self._share) >= workers
                why = "they are starting" if room else self._shortfall(workers)
                logger.warning("waiting for %d of %d workers: %s", len(missing), workers, why)
            wait = min(LOOK, self._patience)
            ray.wait([slot.opened for slot in missing], num_returns=len(missing), timeout=wait)

    def replace(self, name: str, *, vain: int = 0) -> Slot:
        """Ask for a fresh actor under a worker's name, `vain` of which died as they opened, one after the other."""
        slot = self._slots[name] = self._spawn(name)
        slot.vain = vain
        return slot

    def begin_again(self, name: str, error: WorkerDiedError) -> None:
        """Replace a worker that died before the first trial, but not for ever."""
        self._stop_if_asked()  # who stops us may have ended the worker, too
        if not self._chances:
            raise error
        self._chances -= 1
        logger.warning("%s; %s begins again", error, name)
        self.replace(name)

    def ask(self, reference: Any) -> Any:
        """Return an answer that is waited for before there are trials, unless somebody wants the search to stop."""
        while not ray.wait([reference], timeout=LOOK)[0]:
            self._stop_if_asked()
        try:
            return ray.get(reference)
        except RayError as error:
            raise before_training(error) from error

    def mention_homeless(self) -> None:
        """Say which replaced workers still have no place, some time after they were asked for."""
        for name, slot in self._slots.items():
            late = time.monotonic() - slot.since > LOCAL_PATIENCE
            if late and not has_opened(slot):
                slot.since = time.monotonic()
                logger.warning("%s waits for a new place: %s", name, self._shortfall(len(self._slots)))

    def _has_place(self, slot: Slot) -> bool:
        if not has_opened(slot):
            return False
        try:
            self.ask(slot.opened)
        except WorkerDiedError as error:
            self.begin_again(slot.name, error)
            return False
        return True

    def _stop_if_asked(self) -> None:
        if self._should_stop():
            raise StoppedError("stopped before the first trial began; the same command begins again")

    def _shortfall(self, workers: int) -> str:
        mend = "lower workers or gpus_per_worker, wait for other work to end, or add nodes"
        return f"{shortfall(ray.nodes(), workers, self._share)}; {mend}"
