"""What a directory adds to the promises of every store, and how one is opened."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pipeline.store import open_store
from tests.fakes.processes import ROOT, files, kill, line, start
from trainers.errors import ConfigError, IntegrityError, Unreachable


def test_a_failed_write_leaves_nothing_and_can_be_repeated(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    store.put(b"small")
    store.create("a/small", b"")
    before = files(tmp_path)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limits[1]))  # as a full disk: a write fails half-way
    try:
        with pytest.raises(Unreachable, match="space"):
            store.create("a/large", bytes(2000))
        with pytest.raises(Unreachable, match="File too large"):
            store.put(bytes(2000))
        with pytest.raises(Unreachable, match="File too large"):
            store.replace("a/small", bytes(2000))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert files(tmp_path) == before
    assert store.read("a/small") == b""
    store.create("a/large", bytes(2000))
    assert store.get(store.put(bytes(2000))) == bytes(2000)


def test_putting_again_mends_a_blob_of_the_wrong_size(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    digest = store.put(b"data")
    (tmp_path / "blobs" / digest[:2] / digest).write_bytes(b"da")
    assert store.put(b"data") == digest
    assert store.get(digest) == b"data"


@pytest.mark.parametrize("digest", ["../../etc/passwd", "abc", "A" * 64, ""])
def test_a_blob_is_only_ever_named_by_a_digest(tmp_path: Path, digest: str) -> None:
    store = open_store(tmp_path)
    for use in (store.get, store.discard, store.set_aside):
        with pytest.raises(IntegrityError, match="SHA-256"):
            use(digest)


def test_what_a_crash_left_half_written_is_not_listed(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    store.create("a/b", b"")
    (tmp_path / "a" / f"c~{'0' * 32}").write_bytes(b"half")
    assert store.names("a") == ["a/b"]


STALL = """
import os, sys, time
import pipeline.disk_store as disk
def stall(descriptor):
    print("half", flush=True)
    time.sleep(300)
os.fsync = stall
disk.DiskStore(disk.Path(sys.argv[1])).replace("a", b"half of it")
"""


def test_sweeping_removes_what_a_dead_process_left_and_nothing_else(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    store.create("a", b"")
    store.put(b"data")
    before = files(tmp_path)
    writer = start(STALL, str(tmp_path))
    try:
        assert line(writer) == "half"
        (left,) = files(tmp_path) - before
        assert store.sweep() == 0  # it lives
    finally:
        kill(writer)
    assert left in files(tmp_path)
    assert store.sweep() == 1
    assert files(tmp_path) == before
    assert store.sweep() == 0


def test_sweeping_leaves_other_machines_files_for_a_day(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    dead = start("pass")
    dead.communicate()
    elsewhere = tmp_path / f"a~{'0' * 12}~{dead.pid}~{'0' * 12}"
    elsewhere.write_bytes(b"half")
    (tmp_path / "notes~").write_text("somebody's")
    assert store.sweep() == 0
    for path in (elsewhere, tmp_path / "notes~"):
        os.utime(path, (0, time.time() - 86_500))
    assert store.sweep() == 1
    assert files(tmp_path) == {"notes~"}


SWEEP = """
import os, sys
from pipeline.store import open_store
if os.geteuid() == 0:
    os.seteuid(65534)  # nobody: root may do everything
print(open_store(sys.argv[1], create=False).sweep())
"""


@pytest.fixture
def shared() -> Iterator[Path]:
    """A directory that every user can reach."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o777)
        yield Path(folder)


def test_what_is_somebody_elses_is_left_alone_and_told_and_keeps_no_sweep_from_going_on(shared: Path) -> None:
    rights = {"blobs/locked": 0, "blobs/readable": 0o555, "blobs/zz": 0o777, "lost+found": 0}
    for name, mode in rights.items():
        (shared / name).mkdir(parents=True)
        left = shared / name / f"a~{'0' * 12}~1~{'0' * 12}"
        left.write_bytes(b"half")
        os.utime(left, (0, time.time() - 86_500))
        left.parent.chmod(mode)
    swept = subprocess.run([sys.executable, "-c", SWEEP, shared], cwd=ROOT, capture_output=True, text=True, check=True)
    for name in rights:
        (shared / name).chmod(0o700)
    assert swept.stdout == "1\n"
    assert {Path(name).parent.name for name in files(shared)} == {"locked", "readable", "lost+found"}
    assert "locked was not swept" in swept.stderr
    assert "readable/a~" in swept.stderr
    assert "lost+found" not in swept.stderr, "it is none of the store's"


# -- opening -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("spell", [str, Path, lambda path: path.as_uri(), lambda path: f"file://localhost{path}"])
def test_a_store_is_opened_by_path_or_uri(tmp_path: Path, spell: Callable[[Path], str | Path]) -> None:
    path = tmp_path / "new" / "store"
    store = open_store(spell(path))
    assert store.path == path
    assert path.is_dir()
    assert files(tmp_path) == set()
    store.create("a", b"x")
    assert open_store(store.uri).read("a") == b"x"


def test_a_uri_means_the_same_store_elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    store = open_store("100% mine #1?")
    store.create("a", b"x")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert open_store(store.uri, create=False).read("a") == b"x"


@pytest.mark.parametrize("place", ["file", "file/below", "/proc/nowhere/store"])
def test_a_place_that_cannot_hold_a_store_is_named_with_its_mend(tmp_path: Path, place: str) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(Unreachable, match=f"{place}.*--store"):
        open_store(tmp_path / place)


def test_reading_makes_no_store(tmp_path: Path) -> None:
    with pytest.raises(Unreachable, match=r"there is no store at .*gansearch search"):
        open_store(tmp_path / "typo", create=False)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("uri", ["gs://bucket/store", "file://host/store", "http://x"])
def test_another_scheme_is_refused(uri: str) -> None:
    with pytest.raises(ConfigError, match=f"store={uri!r}"):
        open_store(uri)
