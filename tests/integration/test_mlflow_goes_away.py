"""A server that goes away after its first answer: each command says so in one line, without a URI's password."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

from pipeline import commands, upkeep
from pipeline.ledger import Ledger
from pipeline.mlflow_store import MlflowTracker, read_run
from pipeline.place import Place
from pipeline.store import DiskStore
from tests.fakes import shown
from tests.fakes.tracked import MARKS, records_of
from trainers.errors import Unreachable, UserError

pytestmark = MARKS


class Leaving(HTTPServer):
    """Answers one question well, so many more with one status and text, and hangs up on the others."""

    def __init__(self, more: int, status: int, body: bytes) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.answers = [(200, b"{}"), *[(status, body)] * more]
        self.uri = f"http://me:secret@127.0.0.1:{self.server_port}"


class Handler(BaseHTTPRequestHandler):
    server: Leaving

    def do_GET(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.close_connection = True
        if self.server.answers:
            status, body = self.server.answers.pop(0)
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    def do_POST(self) -> None:
        self.do_GET()

    def log_message(self, *args: Any) -> None:
        """Keep quiet."""


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., str]]:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    started = []

    def start(more: int = 0, status: int = 200, body: bytes = b"") -> str:
        server = Leaving(more, status, body)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        started.append(server)
        return server.uri

    yield start
    for server in started:
        server.shutdown()
        server.server_close()


@pytest.fixture
def store(tmp_path: Path) -> DiskStore:
    """The store of a finished study."""
    store = DiskStore(tmp_path / "store")
    store.prepare()
    with Ledger.open(store, "digits") as ledger:
        ledger.append(*records_of(store, *[shown.TrialState.COMPLETED] * 2, tracking_uri=None), shown.finish(0))
    return store


RUN = "0123456789abcdef" * 2
COMMANDS: dict[str, Callable[[Place, Path], object]] = {
    "sync": lambda place, _: upkeep.sync(place, lambda line: None),
    "register": lambda place, _: upkeep.register(place, "0", name="gan", alias="champion", dry_run=False),
    "register --dry-run": lambda place, _: upkeep.register(place, None, name="gan", alias="champion", dry_run=True),
    "sample": lambda place, out: commands.sample(place, "models:/gan@champion", n=2, seed=0, out=out),
    "rerun": lambda place, _: commands.bundle(place, RUN),
}


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_says_that_mlflow_went_away(server, store, tmp_path, command):
    place = Place(store=str(store.path), tracking_uri=server())
    with pytest.raises(Unreachable) as error:
        COMMANDS[command](place, tmp_path / "out.png")
    assert "***@127.0.0.1" in str(error.value)
    assert "secret" not in str(error.value)
    assert not error.value.for_good


def test_each_step_of_a_registration_says_so(server, store):
    book = upkeep.open_study(Place(store=str(store.path))).book
    tracker = MlflowTracker(server(), store, "digits")
    tracker.check()
    trial = book.trials[0]
    for step in (
        lambda: tracker.version_by_alias("gan", "champion"),
        lambda: tracker.log_generator(book, trial),
        lambda: tracker.drop_generator(book, book.trials[1]),
        lambda: tracker.create_version(book, trial, "m-1", "gan", []),
        lambda: tracker.set_alias("gan", "champion", 1),
        lambda: tracker.show_registrations(book),
    ):
        with pytest.raises(Unreachable, match="start the server") as error:
            step()
        assert "secret" not in str(error.value)


@pytest.mark.parametrize(
    ("status", "code", "error_class", "for_good"),
    [
        (404, "RESOURCE_DOES_NOT_EXIST", UserError, None),
        (401, "UNAUTHENTICATED", Unreachable, True),
        (503, "TEMPORARILY_UNAVAILABLE", Unreachable, False),
    ],
)
def test_a_run_that_is_not_there_is_another_thing_than_a_server(server, status, code, error_class, for_good):
    with pytest.raises(error_class) as error:
        read_run(server(9, status, json.dumps({"error_code": code, "message": "no"}).encode()), RUN)
    assert "secret" not in str(error.value)
    assert getattr(error.value, "for_good", None) is for_good
