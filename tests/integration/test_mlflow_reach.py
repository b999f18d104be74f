"""MLflow's server: held to the same, refused before training, and silent."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

from pipeline import registry
from pipeline.mlflow_process import ui_command
from pipeline.mlflow_store import MlflowTracker, read_run
from pipeline.projection import TrackerGoneError
from pipeline.records import TrialState
from pipeline.store import DiskStore
from tests.fakes import shown
from tests.fakes.memory_store import MemoryStore
from tests.fakes.tracked import MARKS, dump, mlflow_store, runs_of, show_all  # noqa: F401
from trainers.errors import ConfigError, Unreachable

pytestmark = MARKS


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@pytest.fixture
def refusing() -> Iterator[Callable[[int, str], str]]:
    """A server that gives every question the same answer."""
    servers = []

    def start(status: int, body: str) -> str:
        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.send_response(status)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body.encode())

            def do_POST(self) -> None:
                self.rfile.read(int(self.headers.get("Content-Length", 0)))
                self.do_GET()

            def log_message(self, *args: Any) -> None:
                """Keep quiet."""

        server = HTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        servers.append(server)
        return f"http://127.0.0.1:{server.server_port}"

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


@pytest.mark.parametrize(
    ("status", "body", "mend"),
    [
        (401, "You are not authenticated.", r"refuses the credentials \(401\); set MLFLOW_TRACKING_USERNAME"),
        (403, '{"error_code": "PERMISSION_DENIED", "message": "no"}', r"credentials \(403\); set MLFLOW_TRACKING"),
        (403, "Invalid Host header - possible DNS rebinding attack detected", "--allowed-hosts '127.0.0.1,127.0.0.1:"),
        (500, "oh", "start the server, or leave out --tracking-uri"),
        (200, "<html>another site</html>", "start the server, or leave out --tracking-uri"),
    ],
)
def test_a_server_that_refuses_is_seen_before_training(refusing, status, body, mend):
    uri = refusing(status, body)
    began = time.monotonic()
    with pytest.raises(Unreachable, match=mend) as error:
        MlflowTracker(uri, MemoryStore(), "digits").check()
    assert uri in str(error.value)
    assert error.value.exit_code == 4
    assert error.value.for_good is (status in (401, 403)), "whether a search that is resumed must not go on"
    assert time.monotonic() - began < 30


def test_a_server_that_is_not_there_is_seen_soon_and_its_password_is_not_shown():
    uri = f"http://me:secret@127.0.0.1:{free_port()}"
    began = time.monotonic()
    with pytest.raises(Unreachable, match="start the server") as error:
        MlflowTracker(uri, MemoryStore(), "digits").check()
    assert time.monotonic() - began < 30
    assert "secret" not in str(error.value)
    assert not error.value.for_good


@pytest.mark.parametrize("uri", ["nosuch://host/x", "http://no such/", "postgresql+nosuchdriver://me:secret@h/d"])
def test_a_uri_that_nothing_can_be_asked_by_is_refused_for_good(uri):
    with pytest.raises(Unreachable) as error:
        MlflowTracker(uri, MemoryStore(), "digits").check()
    assert "secret" not in str(error.value)
    assert error.value.for_good


def test_a_text_that_is_no_uri_is_refused():
    with pytest.raises(ConfigError, match="tracking_uri must be a URL"):
        MlflowTracker("http://[bad", MemoryStore(), "digits")


def test_a_store_without_a_directory_needs_a_uri():
    with pytest.raises(ConfigError, match="tracking_uri must be given"):
        MlflowTracker(None, MemoryStore(), "digits")


@pytest.mark.parametrize("uri", ["sqlite://", "sqlite:///", "sqlite:///:memory:"])
def test_a_database_in_memory_is_refused(uri):
    with pytest.raises(ConfigError, match="must name a file"):
        MlflowTracker(uri, MemoryStore(), "digits")


def test_a_database_without_its_driver_is_seen_before_training():
    with pytest.raises(Unreachable, match="install the driver of that database"):
        MlflowTracker("mysql+pymysql://u@127.0.0.1:9/x", MemoryStore(), "digits").check()


def test_a_broken_file_has_another_mend_than_a_server(tmp_path):
    (tmp_path / "mlflow.db").write_text("this is no database" * 99)
    with pytest.raises(Unreachable, match="move the file away, and `gansearch sync` makes it anew"):
        MlflowTracker(f"sqlite:///{tmp_path}/mlflow.db", MemoryStore(), "digits").check()


def test_a_file_that_is_removed_while_it_is_in_use_is_noticed(tmp_path):
    store = DiskStore(tmp_path / "store")
    store.prepare()
    book = shown.book_of([shown.study(store), *shown.trial(store, 0)])
    tracker = MlflowTracker(None, store, "digits")
    tracker.show(book, None, 1000.0)
    (tmp_path / "store" / "mlflow.db").unlink()
    with pytest.raises(TrackerGoneError, match=r"mlflow\.db was removed while it was in use"):
        tracker.show(book, 0, 1001.0)


QUIET = """
import sys
from pipeline.mlflow_store import MlflowTracker
from pipeline.store import open_store
from tests.fakes import shown
store = open_store(sys.argv[1])
book = shown.book_of([shown.study(store), *shown.trial(store, 0), shown.finish(0)])
tracker = MlflowTracker(None, store, "digits")
tracker.check()
tracker.show(book, None, 1000.0)
tracker.show(book, 0, 1001.0)
tracker.finish(book, "finished")
"""


@pytest.mark.slow
def test_a_first_use_says_nothing_on_stdout_nor_leaves_anything_behind(tmp_path):
    here = tmp_path / "here"
    here.mkdir()
    env = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
    env = {key: value for key, value in env.items() if not key.startswith("MLFLOW")}
    command = [sys.executable, "-c", QUIET, str(tmp_path / "store")]
    done = subprocess.run(command, cwd=here, env=env, capture_output=True, text=True, check=True, timeout=200)
    assert done.stdout == ""
    assert done.stderr == ""
    assert list(here.iterdir()) == []


@pytest.fixture
def server(store: DiskStore, tmp_path: Path) -> Iterator[str]:
    """MLflow's own server, as `gansearch ui` starts it, on a database without studies."""
    port = free_port()
    command = ui_command(f"sqlite:///{store.path}/mlflow.db", tmp_path / "uploads", port)
    log = (tmp_path / "server.log").open("w")
    process = subprocess.Popen(command, cwd=tmp_path, stdout=log, stderr=log, start_new_session=True)
    uri = f"http://127.0.0.1:{port}"
    try:
        wait_until_answering(uri, process)
        yield uri
    finally:
        os.killpg(process.pid, signal.SIGKILL)  # asked nicely, it waits for connections that nobody closes
        process.wait()
        log.close()


def wait_until_answering(uri: str, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 120
    while True:
        assert process.poll() is None, "the server ended"
        try:
            MlflowTracker(uri, MemoryStore(), "digits").check()
        except Unreachable:
            assert time.monotonic() < deadline, "the server never answered"
            time.sleep(0.2)
        else:
            return


@pytest.mark.slow
def test_a_server_is_shown_the_same_and_nothing_on_stdout(server, tmp_path, capfd):
    far = MemoryStore()  # a store that the server cannot see
    records = [shown.study(far), *shown.trial(far, 0), *shown.trial(far, 1, TrialState.DIVERGED), shown.finish(0)]
    book, tracker = shown.book_of(records), MlflowTracker(server, far, "digits")
    show_all(tracker, book, "finished")
    before = dump(tracker)
    show_all(MlflowTracker(server, far, "digits"), book, "finished")
    assert dump(tracker) == before
    assert before["0"][-1]["generator.safetensors"] == book.trials[0].best.result.generator
    assert read_run(server, runs_of(tracker)["0"].info.run_id).spec == book.trials[0].spec
    result = registry.register(tracker, book, far, None, name="gan", alias="champion", dry_run=False)
    assert result["version"] == 1
    assert list((tmp_path / "uploads").rglob("history.parquet"))
    assert capfd.readouterr().out == ""


def test_a_server_has_pages_of_its_own():
    with pytest.raises(ConfigError, match=r"http://\*\*\*@host is a server"):
        ui_command("http://me:secret@host", Path("/a"), 5000)


@pytest.mark.slow
def test_processes_that_make_a_database_at_once_do_not_spoil_it(tmp_path):
    """Two searches that begin in a new store."""
    uri = f"sqlite:///{tmp_path / 'mlflow.db'}"
    ready, code = tmp_path / "ready", (
        "import sys, time, pathlib; from pipeline.mlflow_runs import ask; here = pathlib.Path(sys.argv[2])\n"
        "(here.parent / f'{here.name}-{sys.argv[3]}').touch()\n"
        "while not here.exists(): time.sleep(0.01)\n"
        "ask(sys.argv[1])"
    )  # fmt: skip
    asking = [
        subprocess.Popen([sys.executable, "-c", code, uri, str(ready), str(number)], stderr=subprocess.PIPE, text=True)
        for number in range(3)
    ]
    while len(list(tmp_path.glob("ready-*"))) < len(asking):
        assert all(process.poll() is None for process in asking)
        time.sleep(0.05)
    ready.touch()
    for process in asking:
        told = process.communicate(timeout=120)[1]
        assert process.returncode == 0, told
