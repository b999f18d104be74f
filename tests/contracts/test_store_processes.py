"""What stores promise to several processes, and in spite of the death of one."""

from __future__ import annotations

import hashlib

from pipeline.store import open_store
from tests.fakes.moto_server import s3_server, s3_uri
from tests.fakes.processes import BOTH, kill, line, start, uri

__all__ = ["s3_server", "s3_uri", "uri"]  # fixtures

HOLD = """
import sys, time
from pipeline.store import open_store
with open_store(sys.argv[1]).guard("digits") as got:
    print(got, flush=True)
    time.sleep(300)
"""


@BOTH
def test_a_killed_process_frees_its_guard_at_once(uri: str) -> None:
    store = open_store(uri)
    holder = start(HOLD, uri)
    try:
        assert line(holder) == "True"
        with store.guard("digits") as got:
            assert not got
    finally:
        kill(holder)
    with store.guard("digits") as got:
        assert got


@BOTH
def test_a_child_that_outlives_the_guard_does_not_keep_it(uri: str) -> None:
    code = f"""
import os, sys
from pipeline.store import open_store
store = open_store({uri!r})
with store.guard("digits") as got:
    end, alive = os.pipe()
    child = os.fork()
    if not child:
        os.close(alive)
        os.read(end, 1)  # until the parent ends
        os._exit(0)
with store.guard("digits") as again:
    print(got, again)
"""
    assert start(code).communicate()[0] == "True True\n"


WRITE = """
import sys
from pipeline.store import open_store
store = open_store(sys.argv[1])
for number in range(100_000):
    store.put(b"%d" % number * 100_000)
    store.create(f"a/{number}", b"%d" % number * 100_000)
    print(number, flush=True)
"""


@BOTH
def test_what_was_written_outlives_a_kill_and_nothing_is_seen_in_part(uri: str) -> None:
    store = open_store(uri)
    writer = start(WRITE, uri)
    try:
        confirmed = [int(line(writer)) for _ in range(20)]
    finally:
        kill(writer)
    names = {int(name.removeprefix("a/")) for name in store.names("a")}
    assert names >= set(confirmed)
    for number in names:
        data = b"%d" % number * 100_000
        assert store.read(f"a/{number}") == data
        assert store.get(hashlib.sha256(data).hexdigest()) == data
