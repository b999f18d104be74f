"""What every store promises, and what a disk adds to it."""

from __future__ import annotations

import hashlib
import os
import re
import resource
import signal
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from pipeline.store import DiskStore, MissingObject, NameTaken, Store, open_store
from tests.fakes.memory_store import MemoryStore
from trainers.errors import ConfigError, IntegrityError, StateConflict, Unreachable

ROOT = Path(__file__).parents[2]


@pytest.fixture(params=["disk", "memory"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    return open_store(tmp_path / "a store") if request.param == "disk" else MemoryStore()


def blob_path(store: DiskStore, digest: str) -> Path:
    return store.path / "blobs" / digest[:2] / digest


def corrupt(store: Store, digest: str, data: bytes) -> None:
    if isinstance(store, MemoryStore):
        store.blobs[digest] = data
    else:
        assert isinstance(store, DiskStore)
        blob_path(store, digest).write_bytes(data)


# -- objects -----------------------------------------------------------------------------------------------------------


def test_an_object_is_read_as_it_was_created(store: Store) -> None:
    data = bytes(range(256)) * 10
    store.create("studies/digits/journal/000001/00000001.jsonl", data)
    store.create("empty", b"")
    assert store.read("studies/digits/journal/000001/00000001.jsonl") == data
    assert store.read("empty") == b""


def test_a_name_is_made_once_and_keeps_its_content(store: Store) -> None:
    store.create("a/b", b"first")
    with pytest.raises(NameTaken, match="a/b"):
        store.create("a/b", b"second")
    with pytest.raises(NameTaken):
        store.create("a/b", b"first")
    assert store.read("a/b") == b"first"
    assert store.names("a") == ["a/b"]


def test_of_many_writers_of_one_name_exactly_one_succeeds(store: Store) -> None:
    def write(number: int) -> bool:
        try:
            store.create("race/winner", b"%d" % number)
        except NameTaken:
            return False
        return True

    with ThreadPoolExecutor(16) as pool:
        won = list(pool.map(write, range(64)))
    assert won.count(True) == 1
    assert store.read("race/winner") == b"%d" % won.index(True)


@pytest.mark.parametrize("name", ["a", "a/b/c", "nothing"])
def test_a_missing_object_is_named(store: Store, name: str) -> None:
    store.create("a/b", b"")
    with pytest.raises(MissingObject, match=name):
        store.read(name)


def test_names_are_sorted_and_lie_under_the_folder(store: Store) -> None:
    for name in ("s/b/2", "s/a", "s/b/10", "sx/c", "s.d"):
        store.create(name, b"")
    assert store.names("s") == ["s/a", "s/b/10", "s/b/2"]
    assert store.names("s/b") == ["s/b/10", "s/b/2"]
    assert store.names("other") == []


@pytest.mark.parametrize("name", ["", "/a", "a/", "a//b", "..", "a/../b", "./a", "a b", "ä", "a~b", "a\n", "a\0"])
def test_a_name_of_another_form_is_refused(store: Store, name: str) -> None:
    for use in (lambda: store.create(name, b""), lambda: store.read(name), lambda: store.names(name)):
        with pytest.raises(ConfigError, match="but got"):
            use()


@pytest.mark.parametrize("name", ["blobs/x", "locks/x"])
def test_folders_with_another_use_hold_no_objects(store: Store, name: str) -> None:
    with pytest.raises(ConfigError, match="not begin with blobs or locks"):
        store.create(name, b"")


# -- blobs -------------------------------------------------------------------------------------------------------------


def test_a_blob_is_found_by_its_digest_and_put_twice_is_one(store: Store) -> None:
    data = os.urandom(1000)
    digest = store.put(data)
    assert digest == hashlib.sha256(data).hexdigest()
    assert store.put(data) == digest
    assert store.get(digest) == data
    assert store.get(store.put(b"")) == b""


def test_a_blob_is_no_object(store: Store) -> None:
    store.put(b"blob")
    store.create("a/b", b"")
    assert store.names("a") == ["a/b"]


@pytest.mark.parametrize("damaged", [b"datA", b"dat", b"", b"data and more"])
def test_a_corrupt_blob_is_named_and_not_returned(store: Store, damaged: bytes) -> None:
    digest = store.put(b"data")
    corrupt(store, digest, damaged)
    with pytest.raises(IntegrityError, match=digest):
        store.get(digest)


def test_a_missing_blob_is_named(store: Store) -> None:
    digest = hashlib.sha256(b"never put").hexdigest()
    with pytest.raises(IntegrityError, match=digest):
        store.get(digest)


def test_a_discarded_blob_is_gone_and_can_be_put_again(store: Store) -> None:
    digest = store.put(b"data")
    store.discard(digest)
    store.discard(digest)
    with pytest.raises(IntegrityError, match="missing"):
        store.get(digest)
    store.put(b"data")
    assert store.get(digest) == b"data"


# -- locks -------------------------------------------------------------------------------------------------------------


def test_a_study_is_held_by_one_at_a_time(store: Store) -> None:
    with store.lock("digits"):
        with pytest.raises(StateConflict, match="study 'digits' is in use by"), store.lock("digits"):
            pytest.fail("a second lock was given")
        with pytest.raises(StateConflict), store.lock("digits"):  # the refusal freed nothing
            pytest.fail("a second lock was given")
        with store.lock("mnist"):
            pass
    with store.lock("digits"):
        pass


def test_an_error_inside_frees_the_study_and_goes_on(store: Store) -> None:
    with pytest.raises(ZeroDivisionError), store.lock("digits"):
        raise ZeroDivisionError
    with store.lock("digits"):
        pass


# -- the disk ----------------------------------------------------------------------------------------------------------


def start(code: str, *arguments: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", code, *arguments]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)


def files(path: Path) -> set[str]:
    return {found.relative_to(path).as_posix() for found in path.rglob("*") if found.is_file()}


def kill(process: subprocess.Popen[str]) -> None:
    process.send_signal(signal.SIGKILL)
    process.communicate()


HOLD = """
import sys, time
from pipeline.store import open_store
with open_store(sys.argv[1]).lock("digits"):
    print("held", flush=True)
    time.sleep(300)
"""


def test_a_killed_process_frees_its_study_at_once(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    holder = start(HOLD, store.uri)
    try:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        message = f"is in use by process {holder.pid} on {re.escape(os.uname().nodename)}"
        with pytest.raises(StateConflict, match=message), store.lock("digits"):
            pytest.fail("a second lock was given")
    finally:
        kill(holder)
    with store.lock("digits"):
        pass


WRITE = """
import sys
from pipeline.store import open_store
store = open_store(sys.argv[1])
for number in range(100_000):
    store.put(b"%d" % number * 100_000)
    store.create(f"a/{number}", b"%d" % number * 100_000)
    print(number, flush=True)
"""


def test_what_was_written_outlives_a_kill_and_nothing_is_seen_in_part(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    writer = start(WRITE, store.uri)
    try:
        assert writer.stdout is not None
        confirmed = [int(writer.stdout.readline()) for _ in range(20)]
    finally:
        kill(writer)
    names = {int(name.removeprefix("a/")) for name in store.names("a")}
    assert names >= set(confirmed)
    for number in names:
        data = b"%d" % number * 100_000
        assert store.read(f"a/{number}") == data
        assert store.get(hashlib.sha256(data).hexdigest()) == data


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
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert files(tmp_path) == before
    store.create("a/large", bytes(2000))
    assert store.get(store.put(bytes(2000))) == bytes(2000)


def test_putting_again_mends_a_blob_of_the_wrong_size(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    digest = store.put(b"data")
    corrupt(store, digest, b"da")
    assert store.put(b"data") == digest
    assert store.get(digest) == b"data"


@pytest.mark.parametrize("digest", ["../../etc/passwd", "abc", "A" * 64, ""])
def test_a_blob_is_only_ever_named_by_a_digest(tmp_path: Path, digest: str) -> None:
    store = open_store(tmp_path)
    for use in (store.get, store.discard):
        with pytest.raises(IntegrityError, match="SHA-256"):
            use(digest)


def test_what_a_crash_left_half_written_is_not_listed(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    store.create("a/b", b"")
    (tmp_path / "a" / f"c~{'0' * 32}").write_bytes(b"half")
    assert store.names("a") == ["a/b"]


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


@pytest.mark.parametrize("uri", ["s3://bucket/store", "file://host/store", "http://x"])
def test_another_scheme_is_refused(uri: str) -> None:
    with pytest.raises(ConfigError, match=f"store={uri!r}"):
        open_store(uri)
