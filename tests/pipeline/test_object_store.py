"""What a bucket adds to the promises of every store, and how its faults are told."""

from __future__ import annotations

import os
import socket
import tempfile
import time
import traceback
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from pipeline.store import NameTaken, open_store
from tests.fakes.moto_server import SECRET, bad_line, request, s3_server, s3_uri
from trainers.errors import ConfigError, Unreachable

__all__ = ["s3_server", "s3_uri"]  # fixtures


def test_a_large_blob_goes_in_parts_and_comes_back_whole(s3_uri: str) -> None:
    store = open_store(s3_uri)
    data = os.urandom(12 << 20)
    assert store.get(store.put(data)) == data


@pytest.mark.slow
def test_a_listing_longer_than_a_page_is_whole(s3_uri: str) -> None:
    store = open_store(s3_uri)
    names = [f"s/{number:04d}" for number in range(1_050)]  # a page has 1,000
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda name: store.create(name, b""), names))
    assert store.names("s") == names


def test_a_bucket_of_no_study_is_no_store(s3_uri: str) -> None:
    with pytest.raises(Unreachable, match=r"there is no store at s3://.*gansearch search"):
        open_store(s3_uri, create=False)
    open_store(s3_uri).create("a", b"x")
    assert open_store(s3_uri, create=False).read("a") == b"x"
    with pytest.raises(Unreachable, match="there is no store"):
        open_store(f"{s3_uri}-typo", create=False)


def test_opening_leaves_nothing_in_a_bucket(s3_uri: str) -> None:
    open_store(s3_uri)
    with pytest.raises(Unreachable, match="there is no store"):
        open_store(s3_uri, create=False)


def test_a_server_that_makes_an_object_twice_is_refused(s3_uri: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with bad_line(monkeypatch) as line:
        open_store(s3_uri)
        line.ignores_conditions = True
        with pytest.raises(Unreachable, match=r"If-None-Match.*--store"):
            open_store(s3_uri)


def test_a_lost_answer_is_told_as_a_taken_name(s3_uri: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with bad_line(monkeypatch) as line:
        store = open_store(s3_uri)
        line.faults.append(("after", 500))
        with pytest.raises(NameTaken):
            store.create("a", b"mine")
        assert store.read("a") == b"mine"


def test_a_fault_of_the_server_is_overcome(s3_uri: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with bad_line(monkeypatch) as line:
        store = open_store(s3_uri)
        line.faults.extend([("instead", 503), ("instead", 409), ("instead", 500)])
        store.create("a", b"x")
        assert not line.faults
        line.faults.append(("instead", 503))
        assert store.get(store.put(b"data")) == b"data"
    assert open_store(s3_uri).read("a") == b"x"


def test_a_conflict_that_does_not_end_is_no_taken_name(s3_uri: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with bad_line(monkeypatch) as line:
        store = open_store(s3_uri)
        line.faults.extend([("instead", 409)] * 100)
        with pytest.raises(Unreachable, match="Conflict"):
            store.create("a", b"x")


@pytest.mark.parametrize("status", [404, 409])
def test_whoever_does_not_ask_whether_there_is_an_object_hears_that_the_store_is_out_of_reach(
    s3_uri: str, monkeypatch: pytest.MonkeyPatch, status: int
) -> None:
    with bad_line(monkeypatch) as line:
        store = open_store(s3_uri)
        digest = store.put(b"data")
        uses = [lambda: store.replace("a", b"x"), lambda: store.put(b"data")]
        if status == 409:  # a 404 says that it is removed
            uses += [lambda: store.discard(digest), lambda: store.set_aside(digest)]
        for use in uses:
            line.faults.extend([("instead", status)] * 100)
            with pytest.raises(Unreachable, match=s3_uri):
                use()
            line.faults.clear()


def test_a_bucket_that_is_missing_is_told_at_every_use(s3_uri: str) -> None:
    store = open_store(s3_uri)
    digest = store.put(b"data")
    store.discard(digest)
    assert request("DELETE", s3_uri.removesuffix("/some/place")) == 204
    uses = (
        lambda: store.read("a"),
        lambda: store.create("a", b""),
        lambda: store.names("a"),
        lambda: store.get(digest),
    )
    for use in (*uses, lambda: open_store(s3_uri), lambda: open_store(s3_uri, create=False)):
        with pytest.raises(Unreachable, match=f"{s3_uri} cannot be .*NoSuchBucket.*AWS_ENDPOINT_URL"):
            use()


@pytest.mark.slow
def test_a_server_out_of_reach_is_told_within_a_minute(s3_uri: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:  # takes connections, and never answers
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://user:{SECRET}@127.0.0.1:{silent.getsockname()[1]}")
        began = time.monotonic()
        with pytest.raises(Unreachable, match=f"{s3_uri} cannot be read") as caught:
            open_store(s3_uri, create=False)
        assert time.monotonic() - began < 60
    assert SECRET not in "".join(traceback.format_exception(caught.value))
    assert len(str(caught.value).splitlines()) == 1


def test_half_a_pair_of_keys_is_told_and_not_shown(s3_uri: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    with pytest.raises(Unreachable, match="AWS_ACCESS_KEY_ID") as caught:
        open_store(s3_uri)
    assert SECRET not in "".join(traceback.format_exception(caught.value))


@pytest.mark.parametrize("uri", ["s3://", "s3://B", "s3:///a", "s3://bucket/a b", "s3://bucket/../a", "s3://bucket//a"])
def test_a_place_in_no_bucket_is_refused(uri: str) -> None:
    with pytest.raises(ConfigError, match=f"store={uri!r}"):
        open_store(uri)


def test_keys_do_not_belong_in_a_uri(s3_uri: str) -> None:
    with pytest.raises(ConfigError, match="AWS_") as caught:
        open_store(s3_uri.replace("s3://", f"s3://someone:{SECRET}@"))
    assert SECRET not in "".join(traceback.format_exception(caught.value))


def test_a_folder_of_locks_that_others_can_use_is_refused(
    s3_uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    store = open_store(s3_uri)
    with store.guard("digits") as got:
        assert got
    (folder,) = tmp_path.iterdir()
    assert folder.stat().st_mode & 0o777 == 0o700
    folder.chmod(0o777)
    with pytest.raises(Unreachable, match=r"yours alone.*TMPDIR"), store.guard("digits"):
        pytest.fail("it was given")
