"""`gansearch ui`: MLflow's pages of a store, and nothing of them after Ctrl-C."""

from __future__ import annotations

import json
import re
import signal
import socket
import subprocess
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.command_line import alive, begin, descendants, end, free_port, gansearch, refusal, wait_for
from tests.finished_search import Finished


@pytest.fixture
def ui(finished: Finished) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """A `gansearch ui` that answers, and its address."""
    port = free_port()
    process = begin("ui", "--port", str(port), "--store", "store", cwd=finished.folder)
    address = f"http://127.0.0.1:{port}"
    try:
        wait_for(lambda: answers(address), process)
        yield process, address
    finally:
        end(process)


def answers(address: str) -> bool:
    try:
        with urllib.request.urlopen(f"{address}/health", timeout=5) as answer:
            return answer.status == 200
    except (urllib.error.URLError, ConnectionError, TimeoutError):
        return False


def ask(address: str, path: str, body: dict[str, Any]) -> Any:
    data = json.dumps(body).encode()
    request = urllib.request.Request(f"{address}/api/2.0/mlflow/{path}", data, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=30) as answer:
        return json.load(answer)


@pytest.mark.slow
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_the_pages_show_the_runs_and_end_with_all_their_processes(finished, ui, number, code):
    process, address = ui
    [experiment] = [
        e for e in ask(address, "experiments/search", {"max_results": 9})["experiments"] if e["name"] == "tiny"
    ]
    runs = ask(address, "runs/search", {"experiment_ids": [experiment["experiment_id"]]})["runs"]
    assert {run["info"]["run_id"] for run in runs} >= {trial.run_id for trial in finished.book.trials.values()}
    with urllib.request.urlopen(address, timeout=30) as page:
        assert b"<html" in page.read()

    told = finished.folder / "stderr.txt"
    wait_for(lambda: f"MLflow's UI is at {address} until Ctrl-C\n" in told.read_text(), process)

    started = descendants(process.pid)
    assert started
    process.send_signal(number)
    assert process.wait(60) == code
    _, left = psutil.wait_procs([child for child in started if alive(child)], timeout=10)
    assert left == []
    assert "Traceback" not in (finished.folder / "stderr.txt").read_text()


@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0"])
def test_a_port_that_is_in_use_is_refused_before_anything_starts(tmp_path: Path, host: str):
    (tmp_path / "store" / "studies").mkdir(parents=True)
    with socket.socket() as other:
        other.bind((host, 0))
        other.listen()
        port = other.getsockname()[1]
        told = refusal(gansearch("ui", "--port", str(port), "--store", "store", cwd=tmp_path), 4)
    assert told == f"error: port {port} is in use; name another with --port\n"


@pytest.mark.slow
def test_a_server_that_does_not_come_up_is_no_success(tmp_path: Path):
    """MLflow cannot read a database that is none, and says so in its own words before ours."""
    (tmp_path / "store" / "studies").mkdir(parents=True)
    (tmp_path / "store" / "mlflow.db").write_bytes(b"this is no database" * 100)
    done = gansearch("ui", "--port", str(free_port()), "--store", "store", cwd=tmp_path)
    assert done.returncode == 4
    assert re.fullmatch("error: MLflow's server ended .* before it answered; .*", done.stderr.splitlines()[-1])
    assert "MLflow's UI is at" not in done.stderr
