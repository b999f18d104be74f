"""The best trial's samples as a picture."""

import numpy as np
import pytest

from pipeline.records import TrialState
from pipeline.result import draw_best
from pipeline.store import open_store
from tests.fakes import journal, shown


@pytest.fixture
def store(tmp_path):
    return open_store(tmp_path / "store")


def book(store, samples):
    stored = store.put(shown.npy(samples.astype(np.float32)))
    segment = journal.segment(0, 0, 0, 10, 1.0, samples=stored)
    done = journal.decision(0, TrialState.COMPLETED, score=1.0, best_index=0)
    return shown.book_of([journal.study(), journal.trial(0), journal.attempt(0), segment, done])


@pytest.mark.parametrize("shape", [(9, 1), (9, 2), (9, 3), (9, 1, 8, 8), (9, 3, 8, 8)])
def test_the_best_samples_are_drawn_beside_the_journal(store, shape):
    path = draw_best(book(store, np.zeros(shape)), store)
    assert path is not None
    assert path.read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("shape", [(9, 1, 64), (9, 5, 8, 8), (9, 1, 4, 4, 4)])
def test_samples_that_cannot_be_drawn_are_no_error(store, shape):
    assert draw_best(book(store, np.zeros(shape)), store) is None
    assert not list(store.path.rglob("best.png"))
