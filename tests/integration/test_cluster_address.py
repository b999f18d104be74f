"""A search on a Ray cluster that somebody else has started, and that goes on after it."""

from __future__ import annotations

import os
import secrets
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest

from pipeline.ledger import read_book
from pipeline.ray_options import OBJECT_STORE_BYTES
from pipeline.store import open_store
from tests.command_line import TIMEOUT, alive, document, free_port, gansearch, refusal, wait_for

pytestmark = pytest.mark.slow
SEARCH = """
study: ring
data: ring8
space: gan
trials: 2
workers: 2
network: {name: mlp, width: 16, depth: 2}
latent: {size: 2}
batch_size: 32
steps: 60
segment_steps: 30
evaluation: {samples: 100, grid: 16}
halving: {enabled: false}
"""


@dataclass(frozen=True)
class Cluster:
    """A head node of a cluster."""

    address: str
    token: str
    head: psutil.Process

    def environment(self) -> dict[str, str]:
        """What a driver needs to be let in."""
        return {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": self.token}

    def jobs(self) -> list[str]:
        """The states of all its drivers so far; asking is itself one of them."""
        code = (
            "import sys, ray; from ray._private.state import jobs\n"
            "ray.init(address=sys.argv[1], log_to_driver=False, logging_level='ERROR')\n"
            "print([job['IsDead'] for job in jobs()])"
        )
        env = {k: v for k, v in os.environ.items() if not k.startswith("RAY_")} | self.environment()
        done = subprocess.run(
            [sys.executable, "-c", code, self.address],
            env=env,
            capture_output=True,
            text=True,
            timeout=TIMEOUT,
            check=True,
        )
        return done.stdout.splitlines()[-1].strip("[]").split(", ")


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    """`ray start --head` with a token, an own port and an own folder, whose path must be short."""
    folder, token, port = tempfile.mkdtemp(prefix="gs"), secrets.token_hex(32), free_port()
    kept = {key: value for key, value in os.environ.items() if not key.startswith("RAY_") and key != "PYTHONPATH"}
    process = subprocess.Popen(
        [str(Path(sys.executable).with_name("ray")), "start", "--head", "--block", "--disable-usage-stats",
         f"--port={port}", "--node-ip-address=127.0.0.1", "--include-dashboard=false", f"--temp-dir={folder}",
         "--num-cpus=2", "--num-gpus=0", f"--object-store-memory={OBJECT_STORE_BYTES}"],
        env=kept | {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": token, "HOME": folder}, cwd=folder, text=True,
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
    )  # fmt: skip
    try:
        wait_for(lambda: bool(list(Path(folder).glob("session_latest/sockets/raylet*"))), process)
        yield Cluster(f"127.0.0.1:{port}", token, psutil.Process(process.pid))
    finally:
        started = [psutil.Process(process.pid), *psutil.Process(process.pid).children(recursive=True)]
        process.terminate()
        process.wait(TIMEOUT)
        for child in psutil.wait_procs(started, timeout=10)[1]:
            child.kill()
        shutil.rmtree(folder, ignore_errors=True)


def test_a_search_on_a_cluster_equals_one_without_and_leaves_it_running(cluster: Cluster, tmp_path: Path):
    (tmp_path / "ring.yaml").write_text(SEARCH)
    args = ("search", "ring.yaml", "--format", "json", "--store")
    there = document(gansearch(*args, "there", "--address", cluster.address, cwd=tmp_path, **cluster.environment()))
    here = document(gansearch(*args, "here", cwd=tmp_path))
    assert there["trials"] == here["trials"] == {"completed": 2, "pruned": 0, "diverged": 0, "failed": 0}
    histories = [
        [segment.result.history for number in (0, 1) for segment in book.trials[number].segments]
        for book in (read_book(open_store(tmp_path / store), "ring") for store in ("there", "here"))
    ]
    assert histories[0] == histories[1]
    assert len(histories[0]) == 4
    workers = {a.worker for t in read_book(open_store(tmp_path / "there"), "ring").trials.values() for a in t.attempts}
    assert len(workers) == 2

    assert alive(cluster.head)
    assert cluster.jobs().count("True") == 1  # the search was its driver, and has gone; the cluster answers
    assert not [child for child in cluster.head.children(recursive=True) if "Actor" in " ".join(child.cmdline())]


def test_doctor_reaches_its_workers(cluster: Cluster, tmp_path: Path):
    done = gansearch(
        "doctor", "--store", "store", "--address", cluster.address, "--format", "json",
        cwd=tmp_path, **cluster.environment(),
    )  # fmt: skip
    checks = {check["name"]: check["ok"] for check in document(done)["checks"]}
    assert checks["worker: torch"]
    assert alive(cluster.head)


def test_an_address_where_nobody_listens_is_out_of_reach(tmp_path: Path):
    (tmp_path / "ring.yaml").write_text(SEARCH)
    address = f"127.0.0.1:{free_port()}"
    message = refusal(gansearch("search", "ring.yaml", "--store", "store", "--address", address, cwd=tmp_path), 4)
    assert f"no Ray cluster answers at {address}" in message
    assert "ray start --head" in message
