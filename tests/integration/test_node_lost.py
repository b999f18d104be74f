"""Nodes that die, workers that are out of reach and come back, memory that runs out: each on a real Ray."""

import itertools
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

import psutil
import pytest

from pipeline.ports import Answer, Loss, WorkerDiedError
from pipeline.ray_executor import RayExecutor
from pipeline.ray_options import OBJECT_STORE_BYTES
from pipeline.records import SegmentResult
from tests.command_line import TIMEOUT, wait_for
from tests.fakes.workers import SCRIPTED, job
from tests.ray_processes import cluster_environment, token

if TYPE_CHECKING:
    from ray.cluster_utils import Cluster

pytestmark = pytest.mark.slow
TICK = 0.5  # seconds that the search waits for an answer
BLOCKED = 30.0  # seconds after which whoever was to wait for a tick alone waits for something else
NOTICED = 30.0  # seconds after which a node that died must be known; 2 to 14 were seen


def alone(function: Callable[[Path], None], folder: Path, **env: str) -> None:
    """Run a function of this module in a process of its own: Ray reads its settings when it is imported."""
    code = f"import sys, pathlib, {__name__} as module; module.{function.__name__}(pathlib.Path(sys.argv[1]))"
    with tempfile.TemporaryDirectory(prefix="gs") as home:  # Ray's sockets need a short path
        done = subprocess.run(
            [sys.executable, "-c", code, str(folder)], env=cluster_environment(Path(home), **token(), **env),
            cwd=folder, capture_output=True, text=True, timeout=280, check=False,
        )  # fmt: skip
    assert done.returncode == 0, done.stderr


@contextmanager
def cluster() -> Iterator["Cluster"]:
    """Start a head node with two CPUs, and make this process a driver on it."""
    import ray
    from ray.cluster_utils import Cluster

    cluster = Cluster()
    cluster.add_node(num_cpus=2, include_dashboard=False, object_store_memory=OBJECT_STORE_BYTES)
    try:
        ray.init(address=cluster.address, log_to_driver=False, logging_level="ERROR")
        yield cluster
    finally:
        ray.shutdown()
        cluster.shutdown()


def gather(executor: RayExecutor, count: int) -> list[Answer]:
    """Ask again and again, as the search does, until there are so many answers; no call may keep it from looking up."""
    found: list[Answer] = []
    deadline = time.monotonic() + TIMEOUT
    while len(found) < count:
        began = time.monotonic()
        assert began < deadline, f"only {found} came"
        found += executor.next(TICK)
        assert time.monotonic() - began < BLOCKED
    return found


def told(answer: Answer) -> tuple[str, int, int, str]:
    return (*answer[:3], answer.result.cause if isinstance(answer.result, Loss) else "segment")


def on(executor: RayExecutor, node_id: str) -> str:
    [worker] = [name for name, place in executor.worker_info().items() if place["node_id"] == node_id]
    return worker


def node_dies(folder: Path) -> None:
    with cluster() as nodes, closing(RayExecutor(str(folder), 2, 0, worker=SCRIPTED)) as executor:
        node = nodes.add_node(num_cpus=2)
        with closing(RayExecutor(str(folder), 2, 0, worker=SCRIPTED)) as other:
            for number, worker in enumerate(executor.workers):  # all the room of the head node
                executor.start(worker, job("wait", number))
            assert {place["node_id"] for place in other.worker_info().values()} == {node.node_id}
            other.start("worker-0", job("hang", 7, attempt=1))
            wait_for((folder / "hanging").exists)
            began = time.monotonic()
            nodes.remove_node(node, allow_graceful=False)
            assert [told(answer) for answer in gather(other, 1)] == [("worker-0", 7, 1, "node_lost")]
            assert time.monotonic() - began < NOTICED
            assert [other.ready(worker) for worker in other.workers] == [False, False]  # one had nothing to do there
            began = time.monotonic()
            assert other.next(TICK) == []
            assert time.monotonic() - began > 0.9 * TICK, "it did not wait, though nobody is ready"

            other.start("worker-0", job("train", 7, attempt=2))  # there is no room for it, and nothing blocks
            for _ in range(6):
                began = time.monotonic()
                assert other.next(TICK) == []
                assert time.monotonic() - began < BLOCKED
            (folder / "go-on").touch()  # those on the living node have noticed nothing
            assert [told(answer)[3] for answer in gather(executor, 2)] == ["segment", "segment"]
            executor.close()  # makes room
            assert [told(answer) for answer in gather(other, 1)] == [("worker-0", 7, 2, "segment")]
            wait_for(lambda: other.ready("worker-1"))
            assert {place["node_id"] for place in other.worker_info().values()} == {nodes.head_node.node_id}


def test_a_worker_whose_node_died_waits_without_blocking_and_gets_a_place_on_another(tmp_path: Path):
    alone(node_dies, tmp_path)


def raylet_dies(folder: Path) -> None:
    """Only the node's manager: its worker lives on, so that there is no error until Ray counts the node as dead."""
    with cluster() as nodes:
        node = nodes.add_node(num_cpus=1)
        with closing(RayExecutor(str(folder), 2, 0, worker=SCRIPTED)) as executor:  # spread over the nodes
            worker = on(executor, node.node_id)
            orphan = psutil.Process(executor.worker_info()[worker]["pid"])
            executor.start(worker, job("hang", 5, attempt=1))
            wait_for((folder / "hanging").exists)
            [raylet] = node.all_processes["raylet"]
            began = time.monotonic()
            raylet.process.kill()
            assert [told(answer) for answer in gather(executor, 1)] == [(worker, 5, 1, "node_lost")]
            assert time.monotonic() - began < NOTICED

            executor.start(worker, job("train", 5, attempt=2))
            assert [told(answer) for answer in gather(executor, 1)] == [(worker, 5, 2, "segment")]
            assert executor.worker_info()[worker]["node_id"] == nodes.head_node.node_id
        if orphan.is_running():
            orphan.kill()


@pytest.mark.long
def test_the_death_of_a_raylet_is_that_of_its_node(tmp_path: Path):
    alone(raylet_dies, tmp_path)


# Their process is frozen, which the driver sees by the pings that gRPC sends; Ray sends them every 300 s.
PINGS = {"RAY_grpc_client_keepalive_time_ms": "1000", "RAY_grpc_client_keepalive_timeout_ms": "2000"}


def worker_out_of_reach(folder: Path) -> None:
    """There is room for the one in its stead, however slowly that begins."""
    import ray

    ray.init(address="local", num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
    with closing(RayExecutor(str(folder), 1, 0, worker=SCRIPTED, room_patience=TIMEOUT)) as executor:
        old = psutil.Process(executor.worker_info()["worker-0"]["pid"])
        executor.start("worker-0", job("wait", 3, attempt=0))
        wait_for((folder / "waiting").exists)
        began = time.monotonic()
        os.kill(old.pid, signal.SIGSTOP)
        assert [told(answer) for answer in gather(executor, 1)] == [("worker-0", 3, 0, "node_lost")]
        assert time.monotonic() - began < NOTICED
        executor.start("worker-0", job("train", 3, attempt=1))
        assert [told(answer) for answer in gather(executor, 1)] == [("worker-0", 3, 1, "segment")]

        (folder / "go-on").touch()
        os.kill(old.pid, signal.SIGCONT)
        assert [told(answer) for answer in gather(executor, 1)] == [("worker-0", 3, 0, "segment")]  # the old one's
        wait_for(lambda: not old.is_running())
        executor.advance("worker-0")  # the new one's job goes on
        [answer] = gather(executor, 1)
        assert isinstance(answer.result, SegmentResult)
        assert (answer.attempt, answer.result.start) == (1, 10)
    ray.shutdown()


def test_a_worker_out_of_reach_is_replaced_its_late_answer_is_marked_and_it_is_ended(tmp_path: Path):
    alone(worker_out_of_reach, tmp_path, **PINGS)


def worker_out_of_reach_takes_all_room(folder: Path) -> None:
    import ray

    ray.init(address="local", num_cpus=1, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
    with closing(RayExecutor(str(folder), 1, 0, worker=SCRIPTED, room_patience=2 * TICK)) as executor:
        executor.start("worker-0", job("hang", 4, attempt=0))
        os.kill(executor.worker_info()["worker-0"]["pid"], signal.SIGSTOP)
        assert [told(answer) for answer in gather(executor, 1)] == [("worker-0", 4, 0, "node_lost")]
        executor.start("worker-0", job("train", 4, attempt=1))
        assert [told(answer) for answer in gather(executor, 1)] == [("worker-0", 4, 1, "segment")]
    ray.shutdown()


def test_a_worker_out_of_reach_makes_room_for_the_one_in_its_stead(tmp_path: Path):
    alone(worker_out_of_reach_takes_all_room, tmp_path, **PINGS)


def memory_runs_out(folder: Path) -> None:
    """Whatever else uses the machine's memory may be in the way for a while, before the first trial and after it."""

    def begun() -> RayExecutor | None:
        with suppress(WorkerDiedError):
            return RayExecutor(str(folder), 1, 0, worker=SCRIPTED)
        return None

    with closing(wait_for(begun)) as executor:
        executor.start("worker-0", job("eat"))
        [lost] = gather(executor, 1)
        assert isinstance(lost.result, Loss)
        assert lost.result.cause == "host_memory"
        assert "running low on memory" in lost.result.detail
        attempts = itertools.count(1)

        def came_back() -> bool:
            attempt = next(attempts)
            executor.start("worker-0", job("train", attempt=attempt))
            [answer] = map(told, gather(executor, 1))
            assert answer in [("worker-0", 0, attempt, end) for end in ("segment", "host_memory")]
            return answer[3] == "segment"

        wait_for(came_back)


def test_a_worker_that_eats_its_nodes_memory_is_lost_for_it_and_comes_back(tmp_path: Path):
    memory = psutil.virtual_memory()
    threshold = 1 - memory.available / memory.total + 0.06
    if threshold > 0.9 or memory.total > 200e9:
        pytest.skip("needs a machine with at most 200 GB of memory, of which a tenth is free")
    alone(memory_runs_out, tmp_path, RAY_memory_usage_threshold=f"{threshold:.3f}")


def preempted(folder: Path) -> None:
    """The node is told that it will be taken away, and then is."""
    import ray
    from ray._raylet import GcsClient
    from ray.core.generated.autoscaler_pb2 import DrainNodeReason

    with cluster() as nodes:
        node = nodes.add_node(num_cpus=1)
        with closing(RayExecutor(str(folder), 2, 0, worker=SCRIPTED)) as executor:
            worker = on(executor, node.node_id)
            executor.start(worker, job("hang", 6, attempt=1))
            wait_for((folder / "hanging").exists)
            reason = DrainNodeReason.Value("DRAIN_NODE_REASON_PREEMPTION")
            deadline = int(time.time() * 1000) + 60_000
            accepted, why = GcsClient(address=nodes.address).drain_node(node.node_id, reason, "taken back", deadline)
            assert accepted, why
            nodes.remove_node(node, allow_graceful=False)
            assert [told(answer) for answer in gather(executor, 1)] == [(worker, 6, 1, "preemption")]
    assert not ray.is_initialized()


def test_a_node_that_is_taken_away_is_a_preemption(tmp_path: Path):
    alone(preempted, tmp_path)
