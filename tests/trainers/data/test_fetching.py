"""Published sets are fetched by torchvision, here from a server of the test's own."""

from __future__ import annotations

import gzip
import hashlib
import socket
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
from torchvision import datasets

from tests.trainers.data.test_vision import idx, write_svhn
from trainers.data import load
from trainers.data.fetching import DRAFT, LOCK, need
from trainers.data.vision import IDX
from trainers.errors import DataError
from trainers.params.data import VisionParams

Answer = Callable[[BaseHTTPRequestHandler, bytes], None]


def whole(handler: BaseHTTPRequestHandler, content: bytes) -> None:
    handler.send_response(200)
    handler.send_header("Content-Length", str(len(content)))
    handler.end_headers()
    handler.wfile.write(content)


def half(handler: BaseHTTPRequestHandler, content: bytes) -> None:
    """Answer in part, and hang up."""
    handler.send_response(200)
    handler.send_header("Content-Length", str(len(content)))
    handler.end_headers()
    handler.wfile.write(content[: len(content) // 2])
    handler.close_connection = True


class Server:
    """Gives files by their name, and notes which were asked for."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.answer: Answer = whole
        self.asked: list[str] = []
        self.go_on = threading.Event()  # a silent answer ends with the server
        ours = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                name = self.path.rpartition("/")[2]
                ours.asked.append(name)
                ours.answer(self, ours.files[name])

            def log_message(self, *_: object) -> None:
                """Be quiet."""

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.http.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.http.server_port}/"
        threading.Thread(target=self.http.serve_forever, daemon=True).start()

    def silent(self, handler: BaseHTTPRequestHandler, content: bytes) -> None:
        self.go_on.wait()

    def close(self) -> None:
        self.go_on.set()
        self.http.shutdown()
        self.http.server_close()


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    made = Server()
    for variable in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    yield made
    made.close()


@pytest.fixture
def kmnist(server: Server, monkeypatch: pytest.MonkeyPatch) -> Server:
    """A server that has small files for KMNIST, and torchvision knows their MD5 sums."""
    arrays = [np.full((4, 28, 28), 7), np.arange(4), np.full((2, 28, 28), 9), np.arange(2)]
    server.files = {f"{name}.gz": gzip.compress(idx(a)) for name, a in zip(IDX, arrays, strict=True)}
    sums = [(name, hashlib.md5(content).hexdigest()) for name, content in server.files.items()]
    monkeypatch.setattr(datasets.KMNIST, "mirrors", [server.url])
    monkeypatch.setattr(datasets.KMNIST, "resources", sums)
    return server


def params(root: Path, name: str = "kmnist") -> VisionParams:
    return VisionParams(name=name, root=str(root), download=True)


def fetch(root: Path, patience: float = 60.0) -> None:
    need(params(root), root / "KMNIST" / "raw", IDX, "as they are", patience=patience)


def test_what_is_missing_is_fetched_and_nothing_else_is_left(kmnist: Server, tmp_path: Path):
    data = load(params(tmp_path))
    assert (data.train_labels.tolist(), data.held_out_labels.tolist()) == ([0, 1, 2, 3], [0, 1])
    assert set(kmnist.asked) == set(kmnist.files)
    assert {path.name for path in tmp_path.rglob("*") if path.is_file()} == {*IDX, LOCK}
    assert not (tmp_path / DRAFT).exists()


def test_a_file_that_is_there_stays(kmnist: Server, tmp_path: Path):
    raw = tmp_path / "KMNIST" / "raw"
    raw.mkdir(parents=True)
    mine = idx(np.array([3, 2, 1, 0]))
    (raw / IDX[1]).write_bytes(mine)
    fetch(tmp_path)
    assert (raw / IDX[1]).read_bytes() == mine
    assert (raw / IDX[0]).exists()


def test_of_several_processes_one_fetches(kmnist: Server, tmp_path: Path):
    """Each holds a lock of its own, as processes do."""
    fetch(tmp_path / "alone")
    alone = list(kmnist.asked)  # where each file is, and then the file
    kmnist.asked.clear()
    with ThreadPoolExecutor(4) as pool:
        for done in [pool.submit(fetch, tmp_path) for _ in range(4)]:
            done.result()
    assert kmnist.asked == alone


def test_what_a_process_left_that_died_is_fetched_anew(kmnist: Server, tmp_path: Path):
    left = tmp_path / DRAFT / "KMNIST" / "raw"
    left.mkdir(parents=True)
    (left / IDX[0]).write_bytes(b"in part")
    fetch(tmp_path)
    assert len((tmp_path / "KMNIST" / "raw" / IDX[0]).read_bytes()) == 16 + 4 * 28 * 28


def test_a_file_that_comes_in_part_is_not_there(kmnist: Server, tmp_path: Path):
    kmnist.answer = half
    with pytest.raises(DataError, match="cannot be fetched into"):
        fetch(tmp_path)
    assert not list((tmp_path / "KMNIST").rglob("*ubyte*"))
    kmnist.answer = whole
    fetch(tmp_path)


def nonsense(handler: BaseHTTPRequestHandler, _content: bytes) -> None:
    """Answer without a status."""
    handler.wfile.write(b"what?\r\n\r\n")
    handler.close_connection = True


def chunk(handler: BaseHTTPRequestHandler, content: bytes) -> None:
    """Begin a chunk, and hang up."""
    handler.wfile.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nffff\r\n" + content[:9])
    handler.close_connection = True


@pytest.mark.parametrize("answer", [nonsense, chunk])
def test_a_server_that_speaks_no_http_is_told(kmnist: Server, tmp_path: Path, answer: Answer):
    kmnist.answer = answer
    with pytest.raises(DataError, match="cannot be fetched into"):
        load(VisionParams(name="kmnist", root=str(tmp_path), download=True))


def test_a_file_with_another_sum_is_refused(kmnist: Server, tmp_path: Path):
    kmnist.files[f"{IDX[2]}.gz"] = gzip.compress(idx(np.zeros((2, 28, 28))))
    with pytest.raises(DataError, match="cannot be fetched into"):
        fetch(tmp_path)
    assert not list((tmp_path / "KMNIST").rglob("*ubyte*"))


def test_a_server_that_says_nothing_is_left(kmnist: Server, tmp_path: Path):
    kmnist.answer = kmnist.silent
    with pytest.raises(DataError, match=r"cannot be fetched into .*timed out"):
        fetch(tmp_path, patience=0.2)
    assert socket.getdefaulttimeout() is None


def test_files_of_svhn_are_fetched(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    source = tmp_path / "source"
    source.mkdir()
    write_svhn(source)
    server.files = {path.name: path.read_bytes() for path in source.iterdir()}
    split = {
        part: [f"{server.url}{name}", name, hashlib.md5(server.files[name]).hexdigest()]
        for part, name in (("train", "train_32x32.mat"), ("test", "test_32x32.mat"))
    }
    monkeypatch.setattr(datasets.SVHN, "split_list", split)
    assert load(params(tmp_path / "a", "svhn")).train_labels.tolist() == [0, 1, 9, 2, 0, 3]
    split["test"][1] = "renamed.mat"
    with pytest.raises(DataError, match=r"test_32x32.mat did not come with what was fetched; put them into .*/b \("):
        load(params(tmp_path / "b", "svhn"))
