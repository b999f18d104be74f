"""A worker's place on Ray: an actor under the worker's name, and the job that it holds."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import ray
from ray.exceptions import RayError, RayTaskError

from pipeline import ray_options
from pipeline.actor import Actor
from pipeline.ray_errors import before_training, loss
from pipeline.resources import is_dead
from trainers.errors import GansearchError, Unreachable

SLOW, SLOW_TIMES = 60.0, 10.0  # a segment may take so many seconds more than so many times the longest before it
FRESH = 1.0  # seconds for which what Ray says of its nodes is not asked for again
NEVER_BEGAN = "it could not begin"  # why a worker is replaced
TRIES = 3  # actors in a row that may die as they open
SUSPICION = 30.0  # seconds: Ray counts a node as dead after some 10 s of silence


@dataclass
class Slot:
    """An actor under its worker's name, and the job that it holds."""

    name: str
    host: Any
    opened: Any  # reference to the answer of `open`
    since: float  # monotonic seconds when the actor was asked for
    has_answered: bool = False  # whether `opened` is known to be there, which it stays
    trial: int = -1
    attempt: int = -1
    calls: int = 0  # made so far
    call: Any = None  # reference to the outstanding answer
    late: Any = None  # reference to what it says once it is in reach again
    vain: int = 0  # actors before it, one after the other, that died as they opened
    called: float = 0.0  # monotonic seconds of the outstanding call
    longest: float = 0.0  # seconds that a segment of its job took
    told: bool = False  # whether it was told that its job takes long

    def hold(self, trial: int, attempt: int) -> None:
        """Take a job in place of the one before."""
        self.trial, self.attempt, self.longest, self.told = trial, attempt, 0.0, False

    def expect(self, call: Any, now: float) -> None:
        """Note that an answer is outstanding from now on."""
        self.calls, self.call, self.called = self.calls + 1, call, now

    def answered(self, now: float) -> Any:
        """Note that the outstanding answer is there, and return its reference."""
        call, self.call = self.call, None
        self.longest = max(self.longest, now - self.called)
        return call

    def seems_to_hang(self, now: float) -> bool:
        """Tell, once a job, whether a segment takes far longer than those before it did."""
        late = self.call is not None and self.longest > 0 and now - self.called > SLOW + SLOW_TIMES * self.longest
        self.told, told = self.told or late, self.told
        return late and not told


def spawn(store_uri: str, worker: str, share: float, name: str) -> Slot:
    """Ask for an actor, and return at once.

    Args:
        store_uri: what it opens its store with.
        worker: "module:name" of the class that it makes.
        share: GPUs.
        name: of the worker.
    """
    options = {"num_cpus": 1, "num_gpus": share, "max_restarts": 0, "scheduling_strategy": "SPREAD"}
    env = {"env_vars": ray_options.worker_environment(share)}
    host = ray.remote(Actor).options(**options, runtime_env=env).remote(store_uri, worker)
    return Slot(name=name, host=host, opened=host.open.remote(node_id), since=time.monotonic())


def node_id() -> str:
    """Return which of `ray.nodes` this process is on."""
    return str(ray.get_runtime_context().get_node_id())


def has_opened(slot: Slot) -> bool:
    """Tell, without waiting, whether an actor runs, or has died of it."""
    slot.has_answered = slot.has_answered or bool(ray.wait([slot.opened], timeout=0)[0])
    return slot.has_answered


def on_dead_node(slot: Slot) -> bool:
    """Tell whether Ray counts the node of an actor as dead."""
    where = _node_of(slot)
    return where is not None and is_dead(ray.nodes(), where)


class NodeHealth:
    """Whether workers that have nothing to do are on nodes that live.

    A node that has lost a worker is doubted until Ray says that it is dead, or has not said so for a while: others on
    it would be lost in turn, each with a try of a trial. Who was asked for since is not: a living node made it.

    Args:
        where: tells the node of a worker; None where it has none.
        clock: tells monotonic seconds.
    """

    def __init__(
        self, where: Callable[[Slot], str | None] | None = None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._where, self._clock = where or _node_of, clock
        self._looked = -SUSPICION  # monotonic seconds
        self._nodes: list[dict[str, Any]] = []
        self._lost: dict[str, float] = {}  # nodes, and when they lost a worker

    def lost(self, slot: Slot) -> None:
        """Note that a worker was lost with its node, perhaps."""
        self._looked = -SUSPICION
        if (where := self._where(slot)) is not None:
            self._lost[where] = self._clock()

    def why_replace(self, slot: Slot) -> str | None:
        """Return why a worker cannot train where it is, or None."""
        if not has_opened(slot):
            return None
        if self._clock() > self._looked + FRESH:
            self._looked, self._nodes = self._clock(), ray.nodes()
        where = self._where(slot)
        if where is None:
            return NEVER_BEGAN
        return "its node has died" if is_dead(self._nodes, where) else None

    def in_doubt(self, slot: Slot) -> bool:
        """Whether a worker's node is not known, or has lost another since it was asked for, and not long ago."""
        if (where := self._where(slot)) is None:
            return True
        lost = self._lost.get(where)
        return lost is not None and slot.since < lost < self._clock() < lost + SUSPICION


def refusal(slot: Slot) -> GansearchError | None:
    """Return why no successor of an actor could begin, such as a store that is not there; None where one may."""
    try:
        ray.get(slot.opened)
    except RayTaskError as error:
        return before_training(error)
    except RayError as error:
        if slot.vain + 1 < TRIES:
            return None
        why = loss(error, slot.name, node_dead=False).detail
        return Unreachable(f"{slot.name} died {TRIES} times in a row as it opened: {why}; Ray's logs of it say more")
    return None


def _node_of(slot: Slot) -> str | None:
    """Return where an actor runs; None where it has no place yet, or died before it could tell."""
    try:
        return str(ray.get(slot.opened)["node_id"]) if has_opened(slot) else None
    except RayError:
        return None
