"""What the benchmark of a commit counts."""

from __future__ import annotations

import os
from pathlib import Path
from threading import Thread
from typing import Any

from benchmarks import commit
from pipeline.book import Book
from pipeline.records import TrialState
from pipeline.store import DiskStore
from tests.fakes import journal


def test_a_cost_counts_the_syncs_of_its_own_thread_and_their_bytes(tmp_path: Path):
    store, cost, real = DiskStore(tmp_path), commit.Cost(), os.fsync
    store.prepare()
    store.create("a/first", b"makes the folder")
    with cost.measure():
        store.create("a/second", b"12345")
        other = Thread(target=store.create, args=("a/third", b"somebody else's"))
        other.start()
        other.join()
    assert (cost.syncs, cost.synced) == (2, 5), "the file and its folder"
    assert len(cost.seconds) == 1
    assert os.fsync is real


def at(record: Any, seconds: float) -> Any:
    return record.model_copy(update={"at": seconds})


def test_the_share_of_a_recorded_search_is_that_of_its_own_segments_and_busy_seconds():
    """Its first driver trained for 4 s and died, the second one came an hour later and took 6 s."""
    book, again = Book(), {"attempt": 1}
    first, second = (journal.segment(0, index, 50 * index, 50 * index + 50, score=1.0) for index in range(2))
    for record in [
        journal.study(), journal.trial(0, steps=100, segment_steps=50),
        at(journal.attempt(0), 10), at(first, 14),
        at(journal.attempt(0, 1, step=50), 3614), at(second.model_copy(update=again), 3619),
        at(journal.decision(0, TrialState.COMPLETED), 3620),
    ]:  # fmt: skip
        book.apply(record)
    search = commit.config.load(None)
    assert commit.share(0.1, search, [], book) == "2.00% of study digits: 2 segments in 10 s"


def test_seconds_of_two_trials_at_a_time_count_once():
    book = Book()
    book.apply(journal.study())
    for number, (begun, ended) in enumerate([(10, 15), (12, 18), (30, 31)]):
        book.apply(journal.trial(number, steps=50, segment_steps=50))
        book.apply(at(journal.attempt(number), begun))
        book.apply(at(journal.loss(number), ended))
    assert commit.busy(book.trials.values()) == 9.0


def test_the_drivers_loop_removes_blobs_and_workers_put_them(tmp_path: Path):
    store = DiskStore(tmp_path)
    store.prepare()
    into, cost = commit.PutInto(store), commit.Cost()
    with cost.measure():
        digest = into.put(b"checkpoint")
        into.discard(digest)
    assert (len(into.cost.seconds), cost.syncs - into.cost.syncs) == (1, 0)
    assert 0 < into.cost.seconds[0] < cost.seconds[0]
    assert not any(path.is_file() for path in (tmp_path / "blobs").rglob("*"))


def test_without_one_all_workers_are_taken_to_train_all_the_time():
    search = commit.config.load(None, (), {"workers": 4})
    results = [journal.segment(0, 0, 0, 50, seconds=2.0).result]
    assert commit.share(0.01, search, results, None) == "2.00%, where a segment takes 2.00 s on each of 4 workers"
