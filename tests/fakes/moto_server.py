"""An S3 server on this machine, a bucket of a test's own in it, and a line to it that can be bad."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Literal
from uuid import uuid4

import pytest

SECRET = "not-to-be-told"
# moto looks for an object and then makes it, so that two threads may both make it. S3 does that in one step, and so
# does this server, which answers one request at a time (each once it is read whole: a client may stop in the middle).
ANYBODY = {"Authorization": "AWS4-HMAC-SHA256 Credential=someone/20260101/us-east-1/s3/aws4_request, Signature=0"}
SERVE = """
import io, threading
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import run_simple
app, one = DomainDispatcherApplication(create_backend_app), threading.Lock()
def answer(environ, start_response):
    environ["wsgi.input"] = io.BytesIO(environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0)))
    with one:
        return list(app(environ, start_response))
run_simple("127.0.0.1", 0, answer, threaded=True)
"""


@pytest.fixture(scope="session")
def s3_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Its endpoint. A module that uses `s3_uri` imports this fixture too."""
    log = tmp_path_factory.mktemp("moto") / "log"
    with log.open("wb") as file:
        server = subprocess.Popen([sys.executable, "-c", SERVE], stdout=file, stderr=subprocess.STDOUT)
    try:
        yield _endpoint(log, server)
    finally:
        server.kill()
        server.wait()


def _endpoint(log: Path, server: subprocess.Popen[bytes]) -> str:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and server.poll() is None:
        found = re.search(r"Running on (http://127\.0\.0\.1:\d+)", log.read_text())
        if found:
            return found[1]
        time.sleep(0.05)
    raise AssertionError(f"moto did not start: {log.read_text()}")


@pytest.fixture
def s3_uri(s3_server: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """A place in a new bucket; the environment says how it is reached, to processes that a test starts too."""
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_ENDPOINT_URL", s3_server)
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "someone")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    bucket = f"bucket-{uuid4().hex[:12]}"
    assert request("PUT", f"s3://{bucket}") == 200
    return f"s3://{bucket}/some/place"


def request(method: str, uri: str, data: bytes = b"") -> int:
    """Send a plain request about an object or a bucket, past all code of ours; returns the status."""
    return _exchange(method, uri, data)[0]


def fetch(uri: str) -> bytes:
    """Return an object's content, past all code of ours."""
    return _exchange("GET", uri, b"")[1]


def _exchange(method: str, uri: str, data: bytes) -> tuple[int, bytes]:
    line = HTTPConnection(os.environ["AWS_ENDPOINT_URL"].removeprefix("http://"), timeout=30)
    try:
        line.request(method, f"/{uri.removeprefix('s3://')}", data, ANYBODY)
        answer = line.getresponse()
        return answer.status, answer.read()
    finally:
        line.close()


Fault = tuple[Literal["instead", "after"], int]  # a status that is answered instead of a request, or after it was done


class BadLine(ThreadingHTTPServer):
    """What stands between a client and the server: `faults` befall the next PUTs, one each."""

    def __init__(self, endpoint: str) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.faults: deque[Fault] = deque()
        self.ignores_conditions = False
        self.there = endpoint.removeprefix("http://")


class _Handler(BaseHTTPRequestHandler):
    server: BadLine

    def answer(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        when, status = self.server.faults.popleft() if self.command != "GET" and self.server.faults else ("never", 0)
        content = b""
        if when != "instead":
            done, content = self.pass_on(body)
            status = status or done
        self.send_response(status)
        self.send_header("Content-Length", str(len(content)))
        self.send_header("Last-Modified", self.date_time_string())  # the client wants both of every object
        self.send_header("ETag", '"0"')
        self.end_headers()
        self.wfile.write(content)

    def pass_on(self, body: bytes) -> tuple[int, bytes]:
        unwanted = {"host", "if-none-match"} if self.server.ignores_conditions else {"host"}
        headers = {name: text for name, text in self.headers.items() if name.lower() not in unwanted}
        there = HTTPConnection(self.server.there, timeout=30)
        try:
            there.request(self.command, self.path, body, headers)
            got = there.getresponse()
            return got.status, got.read()
        finally:
            there.close()

    do_GET = do_PUT = do_DELETE = answer  # noqa: N815

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@contextmanager
def bad_line(monkeypatch: pytest.MonkeyPatch) -> Iterator[BadLine]:
    """Put a line that can be bad between the stores that are opened from now on and the server."""
    line = BadLine(os.environ["AWS_ENDPOINT_URL"])
    thread = Thread(target=line.serve_forever, args=(0.05,))
    thread.start()
    try:
        with monkeypatch.context() as patch:
            patch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{line.server_port}")
            yield line
    finally:
        line.shutdown()
        thread.join()
        line.server_close()
