"""A Ray cluster that somebody else has started on this machine."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil

from pipeline.ray_options import OBJECT_STORE_BYTES
from tests.command_line import TIMEOUT, environment, free_port, wait_for
from tests.ray_processes import token


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
        done = subprocess.run(
            [sys.executable, "-c", code, self.address],
            env=environment(Path.home(), **self.environment()), capture_output=True, text=True, timeout=TIMEOUT,
            check=True,
        )  # fmt: skip
        return done.stdout.splitlines()[-1].strip("[]").split(", ")


@contextmanager
def ray_head() -> Iterator[Cluster]:
    """`ray start --head` with a token, an own port and an own folder, whose path must be short."""
    folder, secret, port = tempfile.mkdtemp(prefix="gs"), token(), free_port()
    env = environment(Path(folder), **secret)
    del env["PYTHONPATH"]  # so that its workers know our modules by what a driver sends them alone
    process = subprocess.Popen(
        [str(Path(sys.executable).with_name("ray")), "start", "--head", "--block", "--disable-usage-stats",
         f"--port={port}", "--node-ip-address=127.0.0.1", "--include-dashboard=false", f"--temp-dir={folder}",
         "--num-cpus=2", "--num-gpus=0", f"--object-store-memory={OBJECT_STORE_BYTES}"],
        env=env, cwd=folder, text=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
    )  # fmt: skip
    try:
        wait_for(lambda: bool(list(Path(folder).glob("session_latest/sockets/raylet*"))), process)
        yield Cluster(f"127.0.0.1:{port}", secret["RAY_AUTH_TOKEN"], psutil.Process(process.pid))
    finally:
        started = [psutil.Process(process.pid), *psutil.Process(process.pid).children(recursive=True)]
        process.terminate()
        process.wait(TIMEOUT)
        for child in psutil.wait_procs(started, timeout=10)[1]:
            child.kill()
        shutil.rmtree(folder, ignore_errors=True)
