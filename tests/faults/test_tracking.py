"""MLflow's server goes away, refuses or breaks while a search trains: training goes on, and all is there in the end."""

from __future__ import annotations

import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, Literal

import mlflow
import pytest

from pipeline.mlflow_process import ui_command
from pipeline.mlflow_store import MlflowTracker
from tests.command_line import TIMEOUT, document, end, free_port, gansearch, refusal, wait_for
from tests.fakes.memory_store import MemoryStore
from tests.fakes.tracked import MARKS, dump, shelf_of
from tests.faults.conftest import Note
from tests.faults.held import Held
from tests.place import Place, assert_whole
from trainers.errors import Unreachable

pytestmark = MARKS
Mode = Literal["pass", "drop", "silent", "403", "500"]
OUTAGE = 20.0  # seconds
TRIALS = ("--trials", "2", "--workers", "1")
DRAIN = 120.0  # seconds that a search that has ended waits for MLflow


class Proxy:
    """Forwards to a server, or closes every connection, or says nothing, or gives every question the same answer."""

    def __init__(self, server: int) -> None:
        """Listen on a port of its own; `server` is that of whoever is asked."""
        self._server, self._mode = server, "pass"
        self._open: set[socket.socket] = set()
        self._lock = threading.Lock()
        self.refused = 0  # connections that were not passed
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=128)
        self.uri = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        threading.Thread(target=self._listen, daemon=True).start()

    def switch(self, mode: Mode) -> None:
        """Treat new connections in this way, and break off those that there are, whatever is under way on them."""
        with self._lock:
            self._mode = mode
            for connection in self._open:
                with suppress(OSError):  # its other end may be gone
                    connection.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        self._listener.close()
        self.switch("drop")

    def _listen(self) -> None:
        with suppress(OSError):  # closed
            while True:
                threading.Thread(target=self._serve, args=self._listener.accept()[:1], daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        with self._lock:
            mode = self._mode
            self._open.add(client)
            self.refused += mode != "pass"
        try:
            with client, suppress(OSError):  # either end may break it off
                if mode == "pass":
                    self._forward(client)
                elif mode == "silent":
                    while client.recv(65536):
                        pass
                elif mode != "drop":
                    answer(client, int(mode))
        finally:
            with self._lock:
                self._open.discard(client)

    def _forward(self, client: socket.socket) -> None:
        with socket.create_connection(("127.0.0.1", self._server)) as server:
            back = threading.Thread(target=pump, args=(server, client), daemon=True)
            back.start()
            pump(client, server)
            back.join()


def pump(source: socket.socket, sink: socket.socket) -> None:
    """Copy until either end closes, and then close both directions."""
    with suppress(OSError):
        while data := source.recv(65536):
            sink.sendall(data)
    for end_ in (source, sink):
        with suppress(OSError):
            end_.shutdown(socket.SHUT_RDWR)


def answer(client: socket.socket, status: int) -> None:
    """Read one question and refuse it."""
    with client.makefile("rb") as file:
        head = iter(lambda: file.readline().strip().lower(), b"")
        size = sum(int(line.partition(b":")[2]) for line in head if line.startswith(b"content-length:"))
        file.read(size)
    body = b'{"error_code": "PERMISSION_DENIED", "message": "no"}' if status == 403 else b"oh"
    client.sendall(b"HTTP/1.1 %d no\r\nConnection: close\r\nContent-Length: %d\r\n\r\n%s" % (status, len(body), body))


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """The port of MLflow's own server, which takes its time to start."""
    folder, port = tmp_path_factory.mktemp("server"), free_port()
    command = ui_command(f"sqlite:///{folder}/mlflow.db", folder / "uploads", port)
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(command, cwd=folder, stdout=log, stderr=log, text=True, start_new_session=True)
    try:
        wait_for(lambda: answers(f"http://127.0.0.1:{port}"), process)
        yield port
    finally:
        end(process)


@pytest.fixture
def proxy(server: int) -> Iterator[Proxy]:
    """A way to MLflow's server, where no study is called `ring` yet."""
    between = Proxy(server)
    yield between
    between.close()
    client = mlflow.MlflowClient(tracking_uri=f"http://127.0.0.1:{server}")
    found = client.get_experiment_by_name("ring")
    if found is not None:
        client.rename_experiment(found.experiment_id, f"was {between.uri}")


def answers(uri: str) -> bool:
    try:
        MlflowTracker(uri, MemoryStore(), "ring").check()
    except Unreachable:
        return False
    return True


def tracked(folder: Path, proxy: Proxy) -> Held:
    return Held(folder, "--tracking-uri", proxy.uri, store=f"file://{folder}/store")


def assert_shown(place: Place, proxy: Proxy) -> None:
    """MLflow has what showing the same journal to an empty MLflow gives: all of it, and nothing twice."""
    fresh = f"sqlite:///{place.folder}/fresh.db"
    done = gansearch("sync", "--store", place.uri, "--tracking-uri", fresh, "--format", "json", cwd=place.folder)
    assert document(done)["unsynced"] == 0
    held = [held_at(place, uri) for uri in (proxy.uri, fresh)]
    assert held[0] == held[1]
    runs, _ = held[0]
    assert {run[0][1] for run in runs.values()} == {"FINISHED"}
    for number in place.book.trials:
        points = [step for step, _, _ in runs[str(number)][3]["d_loss/mean"]]
        assert points == list(range(30, 301, 30))


def held_at(place: Place, uri: str) -> tuple[dict[str, Any], dict[str, Any]]:
    mlflow.set_tracking_uri(uri)  # by which MLflow finds the files of models
    tracker = MlflowTracker(uri, place.store, "ring")
    return dump(tracker), shelf_of(tracker)


@pytest.mark.parametrize(
    "mode", ["silent", *(pytest.param(mode, marks=pytest.mark.long) for mode in ("drop", "403", "500"))]
)
def test_an_mlflow_that_comes_back_is_brought_up_to_date(proxy: Proxy, tmp_path: Path, note: Note, mode: Mode):
    place = tracked(tmp_path, proxy)
    driver = place.begin(*TRIALS)
    try:
        wait_for(lambda: place.waits(trials=1), driver)
        proxy.switch(mode)
        place.go_on()
        began, before = time.monotonic(), place.segments()
        wait_for(lambda: time.monotonic() > began + OUTAGE, driver)
        meanwhile = place.segments() - before
        proxy.switch("pass")
        assert driver.wait(TIMEOUT) == 0, place.talk()
    finally:
        end(driver)
    assert proxy.refused >= (1 if mode == "silent" else 3), "nobody asked meanwhile"
    assert meanwhile >= 5, "training waited for MLflow"
    assert "was not brought up to date" not in place.talk()
    assert_whole(place, trials=2)
    assert_shown(place, proxy)
    note(
        f"MLflow: {OUTAGE:g} s of {WORDS[mode]}",
        "training does not wait; in the end all points are there, none twice; exit 0",
        segments_committed_meanwhile=meanwhile, connections_refused=proxy.refused,
    )  # fmt: skip


WORDS = {"drop": "closed connections", "silent": "no answer", "403": "403", "500": "500"}


@pytest.mark.long
def test_an_mlflow_that_never_comes_back_is_waited_for_so_long_and_then_left(proxy: Proxy, tmp_path: Path, note: Note):
    place = tracked(tmp_path, proxy)
    driver = place.begin(*TRIALS)
    try:
        wait_for(lambda: place.waits(trials=1), driver)
        proxy.switch("drop")
        place.go_on()
        wait_for(lambda: place.segments() == 20, driver)
        began = time.monotonic()
        assert driver.wait(TIMEOUT) == 0, place.talk()
        waited = time.monotonic() - began
    finally:
        end(driver)
    assert DRAIN - 5 < waited < DRAIN + 60  # it ends where there is no time for another try
    told = document(subprocess.CompletedProcess([], 0, (tmp_path / "stdout.txt").read_text(), place.talk()))
    assert told["unsynced"] > 0
    assert "MLflow was not brought up to date" in place.talk()
    assert "`gansearch sync` shows the rest" in place.talk()
    assert "Traceback" not in place.talk()
    proxy.switch("pass")
    again = gansearch("sync", "--store", place.uri, "--tracking-uri", proxy.uri, "--format", "json", cwd=tmp_path)
    left = document(again)["unsynced"]
    assert left == 0
    assert_whole(place, trials=2)
    assert_shown(place, proxy)
    note(
        "MLflow: gone for good in the middle",
        f"the search ends whole, exit 0; it gives MLflow {DRAIN:g} s more; `gansearch sync` shows the rest later",
        seconds_waited=round(waited, 1), unsynced_at_the_end=told["unsynced"], unsynced_after_sync=left,
    )  # fmt: skip


def test_an_mlflow_that_refuses_is_told_before_anything_trains(proxy: Proxy, tmp_path: Path, note: Note):
    place = tracked(tmp_path, proxy)
    proxy.switch("403")
    began = time.monotonic()
    message = refusal(place.search(*TRIALS), 4)
    took = time.monotonic() - began
    assert f"{proxy.uri} cannot be used: it refuses the credentials (403); set MLFLOW_TRACKING_USERNAME" in message
    assert place.book.study is None
    note("MLflow: 403 before training", "exit 4 that names the mend; nothing is trained", seconds=round(took, 1))
