"""A search on a bucket and an MLflow server that asks for a password: who gets in, what is sent, what is kept of it."""

from __future__ import annotations

import base64
import re
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import psutil
import pytest

from pipeline.mlflow_process import ui_command
from tests.command_line import TIMEOUT, descendants, document, end, environment, free_port, gansearch, wait_for
from tests.fakes.moto_server import fetch, s3_server, s3_uri  # noqa: F401 - fixtures
from tests.fakes.tracked import MARKS
from tests.faults.held import Held
from tests.place import STEPS
from tests.ray_processes import named

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600), *MARKS]
LOOPBACK = {"127.0.0.1", "::1", "::ffff:127.0.0.1"}
USER, PASSWORD, TOKEN = "me", "planted-password-5d1e", "planted-token-5d1e"
BASIC = base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
AWS = "planted-aws-5d1e"
SECRETS = (PASSWORD, TOKEN, BASIC, AWS)
GCS = """
import sys
from ray._raylet import GcsClient
print(GcsClient(address=sys.argv[1]).internal_kv_get(b"nothing", b"nowhere", timeout=10))
"""


class Guard(ThreadingHTTPServer):
    """Stands before a server, and lets in whoever has the password or the token."""

    def __init__(self, port: int) -> None:
        super().__init__(("127.0.0.1", 0), _Guarded)
        self.port, self.let_in = port, set[str]()
        self.uri = f"http://127.0.0.1:{self.server_port}"


class _Guarded(BaseHTTPRequestHandler):
    server: Guard

    def answer(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        shown = self.headers.get("Authorization", "")
        if shown not in (f"Basic {BASIC}", f"Bearer {TOKEN}"):
            return self.reply(401, "text/plain", b"You are not authenticated.")
        self.server.let_in.add(shown.partition(" ")[0])
        there = HTTPConnection("127.0.0.1", self.server.port, timeout=60)
        try:
            headers = {
                name: text for name, text in self.headers.items() if name.lower() not in ("host", "authorization")
            }
            there.request(self.command, self.path, body, headers)
            got = there.getresponse()
            self.reply(got.status, got.headers.get("Content-Type", "text/plain"), got.read())
        finally:
            there.close()

    def reply(self, status: int, kind: str, content: bytes) -> None:
        with suppress(OSError):  # whoever asked may be gone
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = answer  # noqa: N815

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def guard(tmp_path: Path) -> Iterator[Guard]:
    """MLflow's own server, and what stands before it."""
    folder, port = tmp_path / "server", free_port()
    folder.mkdir()
    command = ui_command(f"sqlite:///{folder}/mlflow.db", folder / "uploads", port)
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(command, cwd=folder, stdout=log, stderr=log, text=True, start_new_session=True)
    guard = Guard(port)
    threading.Thread(target=guard.serve_forever, daemon=True).start()
    try:
        wait_for(lambda: asked_by_nobody(port) == 200, process)
        yield guard
    finally:
        guard.shutdown()
        guard.server_close()
        end(process)


def asked_by_nobody(port: int) -> int:
    """Return the status of a question without credentials, whose first one takes long; 0 where nobody listens."""
    line = HTTPConnection("127.0.0.1", port, timeout=TIMEOUT)
    try:
        kind = {"Content-Type": "application/json"}
        line.request("POST", "/api/2.0/mlflow/experiments/search", b'{"max_results": 1}', kind)
        return line.getresponse().status
    except OSError:
        return 0
    finally:
        line.close()


@contextmanager
def short_folder() -> Iterator[Path]:
    """A folder for Ray, whose sockets need a short path."""
    folder = Path(tempfile.mkdtemp(prefix="gs"))
    try:
        yield folder
    finally:
        shutil.rmtree(folder)


def test_no_secret_that_a_search_uses_is_kept_and_nothing_is_sent_unasked(
    guard: Guard,
    s3_uri: str,  # noqa: F811
    tmp_path: Path,
):
    uri, folder = ("--tracking-uri", guard.uri), tmp_path / "here"
    folder.mkdir()
    with short_folder() as ray:
        user = {"MLFLOW_TRACKING_USERNAME": USER, "MLFLOW_TRACKING_PASSWORD": PASSWORD}
        env = {"RAY_TMPDIR": str(ray), "RAY_AUTH_MODE": "disabled", "AWS_SECRET_ACCESS_KEY": AWS}
        slow = {"MLFLOW_HTTP_REQUEST_TIMEOUT": "120"}
        place = Held(folder, *uri, store=s3_uri, **env, **user, **slow)
        driver = place.begin("--trials", "1", "--workers", "1")
        try:
            wait_for(lambda: place.waits(trials=1), driver)
            nothing_is_sent_unasked(driver.pid)
            rays_own_service_asks_for_the_token(driver.pid)
            place.go_on()
            assert driver.wait(TIMEOUT) == 0, place.talk()
        finally:
            end(driver)
        command = ("sync", "--store", s3_uri, *uri, "--format", "json")
        with_token = gansearch(*command, cwd=folder, AWS_SECRET_ACCESS_KEY=AWS, MLFLOW_TRACKING_TOKEN=TOKEN, **slow)
        assert document(with_token)["unsynced"] == 0
        assert asked_by_nobody(guard.server_port) == 401
        assert guard.let_in == {"Basic", "Bearer"}, "both secrets were used"

        assert place.book.trials[0].steps == STEPS
        kept = contents(ray, folder, tmp_path / "server") | objects(s3_uri)
        assert {"stdout.txt", "stderr.txt", "mlflow.db", "log"} <= {Path(name).name for name in kept}
        assert [name for name in kept if "/journal/" in name]
        assert [name for name in kept if "/server/uploads/" in name]
        text = with_token.stdout + with_token.stderr
        assert [(name, secret) for secret in SECRETS for name in kept if held(secret, name, kept[name])] == []
        assert [secret for secret in SECRETS if secret in text] == []
        found = [name for name in kept if held("mixture_kl", name, kept[name])]
        assert any("/journal/" in name for name in found), "the look finds what is there"
        assert any("/server/mlflow.db" in name for name in found)
        assert [name for name in kept if name.startswith(f"{ray}/") and held("gcs_server", name, kept[name])]


def contents(*folders: Path) -> dict[str, bytes]:
    files = [path for folder in folders for path in folder.rglob("*") if path.is_file() and not path.is_symlink()]
    return {str(path): path.read_bytes() for path in files}


def objects(uri: str) -> dict[str, bytes]:
    """Every object of a bucket."""
    bucket = "/".join(uri.split("/")[:3])
    listed = fetch(f"{bucket}?list-type=2").decode()
    assert "<IsTruncated>false</IsTruncated>" in listed
    return {name: fetch(f"{bucket}/{name}") for name in re.findall("<Key>(.*?)</Key>", listed)}


def held(text: str, name: str, content: bytes) -> bool:
    return text in name or text.encode() in content


def nothing_is_sent_unasked(pid: int) -> None:
    """Telemetry and usage statistics are off in whatever the driver has started, and nobody beyond is talked to."""
    [raylet], [gcs] = (named(pid, name) for name in ("raylet", "gcs_server"))
    for process in (raylet, gcs):
        found = process.environ()
        assert (found["RAY_USAGE_STATS_ENABLED"], found["MLFLOW_DISABLE_TELEMETRY"]) == ("0", "true")
    seen = [psutil.Process(pid), *descendants(pid)]
    talks = [connection for process in seen for connection in connections(process) if connection.raddr]
    assert talks
    assert {connection.raddr.ip for connection in talks} <= LOOPBACK


def connections(process: psutil.Process) -> list[Any]:
    try:
        found: list[Any] = process.net_connections("inet")
    except psutil.NoSuchProcess:
        return []
    return found


def rays_own_service_asks_for_the_token(pid: int) -> None:
    [raylet] = named(pid, "raylet")
    [address] = set(re.findall(r"--gcs-address=(\S+)", " ".join(raylet.cmdline())))
    known = asked(address, RAY_AUTH_MODE="token", RAY_AUTH_TOKEN=raylet.environ()["RAY_AUTH_TOKEN"])
    assert (known.returncode, known.stdout) == (0, "None\n"), known.stderr
    for nothing_of_it in ({"RAY_AUTH_MODE": "disabled"}, {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "0" * 64}):
        refused = asked(address, **nothing_of_it)
        assert (refused.returncode, refused.stdout) == (1, "")
        assert "AuthenticationError" in refused.stderr


def asked(address: str, **env: str) -> subprocess.CompletedProcess[str]:
    """Ask Ray's control service for something, in a process of its own."""
    return subprocess.run(
        [sys.executable, "-c", GCS, address], env=environment(Path.home(), **env), capture_output=True, text=True,
        timeout=TIMEOUT, check=False,
    )  # fmt: skip
