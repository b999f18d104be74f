"""How many workers a cluster holds: pure functions of its nodes, in the form that Ray describes them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from trainers.errors import ConfigError

# A row of ray.nodes(): {"NodeID": str, "Alive": bool, "Resources": {"CPU": float, "GPU": float, ...}, ...}
Node = Mapping[str, Any]


def is_dead(nodes: Sequence[Node], node_id: str) -> bool:
    """Tell whether a node is known to be dead; one that is in no row is not."""
    return any(node["NodeID"] == node_id and not node["Alive"] for node in nodes)


def totals(nodes: Sequence[Node]) -> tuple[float, float]:
    """Return the CPUs and the GPUs of all nodes that are alive."""
    resources = [node["Resources"] for node in nodes if node["Alive"]]
    return sum(r.get("CPU", 0.0) for r in resources), sum(r.get("GPU", 0.0) for r in resources)


def gpu_share(asked: float | None, workers: int, gpus: float) -> float:
    """Return the GPUs of one worker.

    Args:
        asked: what the user wants; None is a whole GPU where there are enough, an even share of one where there are
            fewer than workers, and none where there is none.
        workers: at least 1.
        gpus: in the whole cluster.

    Raises:
        ConfigError: a share that Ray cannot give out: negative, or a fraction above one.
    """
    if asked is not None:
        if asked < 0 or (asked > 1 and asked != int(asked)):
            rule = "gpus_per_worker must be 0, a fraction up to 1, or a whole number"
            raise ConfigError(f"{rule}, but got gpus_per_worker={asked:g}")
        return asked
    if gpus < 1:
        return 0.0
    each = math.ceil(workers / int(gpus))  # workers on one GPU
    return math.floor(1e4 / each) / 1e4  # Ray counts in steps of 1e-4


def capacity(nodes: Sequence[Node], share: float) -> int:
    """Return how many workers of one CPU and `share` GPUs fit on the nodes; a fraction lies on a single GPU."""
    fit = 0
    for node in nodes:
        if not node["Alive"]:
            continue
        cpus, gpus = int(node["Resources"].get("CPU", 0)), int(node["Resources"].get("GPU", 0))
        if share == 0:
            fit += cpus
        elif share < 1:
            fit += min(cpus, gpus * int(1 / share + 1e-9))
        else:
            fit += min(cpus, int(gpus / share))
    return fit


def shortfall(nodes: Sequence[Node], workers: int, share: float) -> str:
    """Say what was asked for and what there is."""
    cpus, gpus = totals(nodes)
    each = "1 CPU" + (f" and {_count(share, 'GPU')}" if share else "")
    have = f"{_count(cpus, 'CPU')} and {_count(gpus, 'GPU')}"
    fit = capacity(nodes, share)
    return f"asked for {_count(workers, 'worker')} with {each} each; the cluster has {have}, room for {fit}"


def _count(number: float, noun: str) -> str:
    return f"{number:g} {noun}" if 0 < number <= 1 else f"{number:g} {noun}s"
