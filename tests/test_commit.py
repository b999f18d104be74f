"""What the benchmark of a commit counts."""

from __future__ import annotations

import os
from pathlib import Path
from threading import Thread

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


def test_the_share_of_a_recorded_search_is_that_of_its_own_segments_and_seconds():
    book = Book()
    segments = [journal.segment(0, index, 50 * index, 50 * index + 50, score=1.0) for index in range(2)]
    ended = journal.decision(0, TrialState.COMPLETED).model_copy(update={"at": 11.5})  # it began at 1.5
    for record in [journal.study(), journal.trial(0, steps=100, segment_steps=50), *segments, ended]:
        book.apply(record)
    search = commit.config.load(None)
    assert commit.share(0.1, search, [], book) == "2.00% of study digits: 2 segments in 10 s"


def test_without_one_all_workers_are_taken_to_train_all_the_time():
    search = commit.config.load(None, (), {"workers": 4})
    results = [journal.segment(0, 0, 0, 50, seconds=2.0).result]
    assert commit.share(0.01, search, results, None) == "2.00%, where a segment takes 2.00 s on each of 4 workers"
