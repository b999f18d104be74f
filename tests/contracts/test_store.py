"""What every store promises: a directory, a bucket, and the one in memory that stands for them in tests."""

from __future__ import annotations

import hashlib
import os
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import pytest

from pipeline.store import DiskStore, MissingObject, NameTaken, Store, open_store
from tests.fakes.memory_store import MemoryStore
from tests.fakes.moto_server import fetch, request, s3_server, s3_uri
from trainers.errors import ConfigError, IntegrityError

__all__ = ["s3_server", "s3_uri"]  # fixtures


@pytest.fixture(params=["disk", "memory", "s3"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    if request.param == "memory":
        return MemoryStore()
    return open_store(request.getfixturevalue("s3_uri") if request.param == "s3" else tmp_path / "a store")


def blob_path(store: DiskStore, digest: str) -> Path:
    return store.path / "blobs" / digest[:2] / digest


def corrupt(store: Store, digest: str, data: bytes) -> None:
    if isinstance(store, MemoryStore):
        store.blobs[digest] = data
    elif isinstance(store, DiskStore):
        blob_path(store, digest).write_bytes(data)
    else:
        assert request("PUT", f"{store.uri}/blobs/{digest[:2]}/{digest}", data) == 200


def kept(store: Store, place: str) -> bytes:
    if isinstance(store, MemoryStore):
        return store.aside[place.removeprefix(store.uri)]
    return Path(place).read_bytes() if isinstance(store, DiskStore) else fetch(place)


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
    uses = (
        lambda: store.create(name, b""),
        lambda: store.replace(name, b""),
        lambda: store.remove(name),
        lambda: store.read(name),
        lambda: store.names(name),
    )
    for use in uses:
        with pytest.raises(ConfigError, match="but got"):
            use()


@pytest.mark.parametrize("name", ["blobs/x", "locks/x", "aside/x"])
def test_folders_with_another_use_hold_no_objects(store: Store, name: str) -> None:
    with pytest.raises(ConfigError, match="not begin with blobs or locks or aside"):
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


# -- objects that change -----------------------------------------------------------------------------------------------


def test_replacing_makes_an_object_or_changes_it(store: Store) -> None:
    store.replace("s/lease", b"first")
    assert store.read("s/lease") == b"first"
    store.replace("s/lease", b"")
    assert store.read("s/lease") == b""
    assert store.names("s") == ["s/lease"]
    with pytest.raises(NameTaken):
        store.create("s/lease", b"x")


def test_a_removed_object_is_gone_and_can_be_created_again(store: Store) -> None:
    store.create("s/a", b"first")
    store.create("s/b", b"")
    for _ in range(2):
        store.remove("s/a")
    store.remove("never/there")
    assert store.names("s") == ["s/b"]
    with pytest.raises(MissingObject):
        store.read("s/a")
    store.create("s/a", b"second")
    assert store.read("s/a") == b"second"


def test_a_reader_sees_every_replacement_whole(store: Store) -> None:
    store.replace("s/lease", b"0" * 300_000)
    with ThreadPoolExecutor(1) as pool:
        writer = pool.submit(lambda: [store.replace("s/lease", b"%d" % n * 300_000) for n in range(10)])
        seen = [store.read("s/lease")]
        while not writer.done():
            seen.append(store.read("s/lease"))
        writer.result()
    assert {len(data) for data in seen} == {300_000}
    assert all(len(set(data)) == 1 for data in seen)
    assert store.read("s/lease") == b"9" * 300_000


# -- blobs as evidence -------------------------------------------------------------------------------------------------


def test_a_blob_set_aside_is_missing_kept_and_can_be_put_anew(store: Store) -> None:
    digest = store.put(b"data")
    places = []
    for rotten in (b"datA", b"dat"):
        corrupt(store, digest, rotten)
        places.append(store.set_aside(digest))
        assert digest in places[-1]
        with pytest.raises(IntegrityError, match="missing"):
            store.get(digest)
        assert store.put(b"data") == digest
        assert store.get(digest) == b"data"
    assert [kept(store, place) for place in places] == [b"datA", b"dat"]  # the second did not go over the first


def test_a_missing_blob_cannot_be_set_aside(store: Store) -> None:
    assert store.set_aside(hashlib.sha256(b"never put").hexdigest()) == ""


# -- guards ------------------------------------------------------------------------------------------------------------


def test_a_guard_is_given_to_one_at_a_time(store: Store) -> None:
    with ExitStack() as stack:  # a refusal frees nothing
        got = [stack.enter_context(store.guard(name)) for name in ("digits", "mnist", "digits", "digits")]
        assert got == [True, True, False, False]
    with store.guard("digits") as again:
        assert again


def test_an_error_inside_frees_the_guard_and_goes_on(store: Store) -> None:
    with pytest.raises(ZeroDivisionError), store.guard("digits"):
        raise ZeroDivisionError
    with store.guard("digits") as again:
        assert again


def test_a_guard_of_another_form_is_refused(store: Store) -> None:
    with pytest.raises(ConfigError, match="but got"), store.guard("../x"):
        pytest.fail("it was given")
