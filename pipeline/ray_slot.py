"""A worker's place on Ray: an actor under the worker's name, and the job that it holds."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

import ray
from ray.exceptions import RayError

from pipeline import ray_options
from pipeline.actor import Actor
from pipeline.resources import is_dead


@dataclass
class Slot:
    """An actor under its worker's name, and the job that it holds."""

    name: str
    host: Any
    opened: Any  # reference to the answer of `open`
    since: float  # monotonic seconds when the actor was asked for
    trial: int = -1
    attempt: int = -1
    calls: int = 0  # made so far
    call: Any = None  # reference to the outstanding answer
    late: Any = None  # reference to what it says once it is in reach again


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
    return bool(ray.wait([slot.opened], timeout=0)[0])


def on_dead_node(slot: Slot) -> bool:
    """Tell whether Ray counts the node of an actor as dead."""
    if not has_opened(slot):
        return False
    try:
        return is_dead(ray.nodes(), ray.get(slot.opened)["node_id"])
    except RayError:
        return False  # it died before it could tell where it was
