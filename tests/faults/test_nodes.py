"""The node of a worker dies, and the node of the driver: what is left goes on, or the same command does."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from pipeline.ray_options import OBJECT_STORE_BYTES
from tests.command_line import TIMEOUT, descendants, document, end, wait_for
from tests.faults.conftest import Note
from tests.faults.held import Held, losses
from tests.place import assert_whole, lost, retrained, trained_again
from tests.ray_processes import all_but_agents, cluster_environment, named, running, token, trainers

NOTICED = 60.0  # seconds: Ray itself counts a node as dead after some 10 s of silence


def two_nodes(cpus: int) -> None:
    """Hold a cluster of a head with so many CPUs and a node with one; whatever comes on stdin kills that node.

    Its address and the process id of the node's manager go to stdout. Run in a process of its own.
    """
    from ray.cluster_utils import Cluster

    cluster = Cluster()
    try:
        cluster.add_node(num_cpus=cpus, include_dashboard=False, object_store_memory=OBJECT_STORE_BYTES)
        node = cluster.add_node(num_cpus=1, object_store_memory=OBJECT_STORE_BYTES)
        print(cluster.address, node.all_processes["raylet"][0].process.pid, flush=True)
        sys.stdin.readline()
        cluster.remove_node(node, allow_graceful=False)
        print("killed", flush=True)
        sys.stdin.read()
    finally:
        cluster.shutdown()


class Nodes:
    """The cluster, as a test holds it."""

    def __init__(self, process: subprocess.Popen[str], env: dict[str, str]) -> None:
        self.process, self.env = process, env
        self.address, manager = self._told().split()
        self.manager = int(manager)  # of the second node; its workers are its children

    def kill(self) -> None:
        """Kill all processes of the second node."""
        assert self.process.stdin is not None
        print(file=self.process.stdin, flush=True)
        assert self._told() == "killed"

    def _told(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()


@pytest.fixture(params=[2, 1], ids=["room elsewhere", "no room elsewhere"])
def nodes(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Nodes]:
    """A cluster of two nodes for a place in tmp_path; the first has as many CPUs as the parameter says."""
    secret = token()
    with tempfile.TemporaryDirectory(prefix="gs", ignore_cleanup_errors=True) as home:  # Ray's sockets: a short path
        with (Path(home) / "log").open("w") as log:
            process = subprocess.Popen(
                [sys.executable, "-c", f"import {__name__} as module; module.two_nodes({request.param})"],
                env=cluster_environment(Path(home), FAULT_FOLDER=str(tmp_path), **secret),
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True, start_new_session=True,
            )  # fmt: skip
        started: list[psutil.Process] = []
        try:
            found = Nodes(process, secret)
            started = descendants(process.pid)
            yield found
        finally:
            process.communicate(timeout=TIMEOUT)  # closes stdin, upon which it ends
            for child in psutil.wait_procs(started, timeout=10)[1]:
                child.kill()


def test_the_second_node_is_killed_while_it_trains(
    nodes: Nodes, tmp_path: Path, note: Note, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
):
    place = Held(tmp_path, "--address", nodes.address, **nodes.env)
    driver = place.begin("--trials", "2")
    try:
        wait_for(lambda: place.waits(trials=2), driver)
        wait_for(lambda: bool(trainers(nodes.manager)), driver)
        began = time.monotonic()
        nodes.kill()
        wait_for(lambda: bool(losses(place.book)), driver)
        took, before = time.monotonic() - began, place.book
        place.go_on()
        assert driver.wait(TIMEOUT) == 0, place.talk()
    finally:
        end(driver)
    assert took < NOTICED
    assert losses(place.book) == ["node_lost"]
    assert_whole(place, trials=2)
    after = place.book
    [hit] = [trial for trial in after.trials.values() if trial.losses]
    again = before.trials[hit.number].steps - hit.attempts[1].step
    assert (lost(before, after), again) == (0, 0)
    assert sum(len(trial.attempts) for trial in after.trials.values()) == 3
    monkeypatch.setenv("FAULT_FOLDER", str(tmp_path))
    assert retrained(place, hit.number)["identical"] is True
    note(
        f"node: the second of a cluster killed while it trains, {request.node.callspec.id}",
        "node_lost; its trial goes on elsewhere from its last checkpoint, to the same bits; the search ends whole",
        seconds_until_known=round(took, 1), committed_steps_trained_again=again,
    )  # fmt: skip


ENDS = {
    "raylet": (4, "Ray's node on this machine has died; the same command starts it again and goes on"),
    "gcs_server": (1, "Failed to connect to GCS"),
}
"""What is killed of Ray's own processes, and how the driver ends: where the second is gone, Ray itself ends it."""


@pytest.mark.parametrize("name", ["raylet", pytest.param("gcs_server", marks=pytest.mark.long)])
def test_ray_is_killed_under_the_driver(tmp_path: Path, note: Note, name: str):
    """Workers go on for some seconds without either of them; so they are held in their second segment."""
    place = Held(tmp_path)
    driver = place.begin("--trials", "8")
    try:
        wait_for(lambda: place.waits(trials=2), driver)
        started = all_but_agents(driver.pid)
        [manager] = named(driver.pid, name)
        began = time.monotonic()
        manager.kill()
        code = driver.wait(NOTICED + 60)
        took = time.monotonic() - began
        before = place.book
    finally:
        end(driver)
    assert (code, ENDS[name][1] in place.talk()) == (ENDS[name][0], True), place.talk()
    assert "Traceback" not in place.talk()
    wait_for(lambda: not running(started))
    place.go_on()
    assert document(place.search("--trials", "8"))["trials"]["completed"] == 8
    assert_whole(place, trials=8)
    again = trained_again(before, place.book)
    assert (lost(before, place.book), again) == (0, 0)
    note(
        f"node: Ray's own {name} killed under the driver",
        f"exit {code}; nothing committed is lost, no process stays; the same command ends whole",
        seconds_until_it_ended=round(took, 1), committed_steps_trained_again=again,
    )  # fmt: skip
