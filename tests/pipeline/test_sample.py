"""A generator of a trial that runs is drawn from while the search replaces it by a better one."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest

from pipeline.commands import sample
from pipeline.ledger import Ledger, read_book
from pipeline.projection import trial_generator
from pipeline.store import DiskStore
from tests.fakes import shown
from trainers.errors import IntegrityError

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")


class Moving:
    """A place whose store is as it was when the study was first read, and later as it is then."""

    study = tracking_uri = None

    def __init__(self, *stores: DiskStore) -> None:
        self._stores = itertools.chain(stores, itertools.repeat(stores[-1]))

    @property
    def store(self) -> str:
        return str(next(self._stores).path)


def running(folder: Path, score: float) -> DiskStore:
    store = DiskStore(folder)
    store.prepare()
    with Ledger.open(store, "digits") as ledger:
        ledger.append(shown.study(store), *shown.trial(store, 0, None, score=score))
    return store


def discard_best(store: DiskStore) -> str:
    book = read_book(store, "digits")
    digest, _ = trial_generator(book, book.trials[0])
    store.discard(digest)
    return digest


def test_a_generator_that_a_better_one_replaced_meanwhile_is_not_called_corrupt(tmp_path):
    before, after = running(tmp_path / "before", 5.0), running(tmp_path / "after", 4.0)
    discard_best(before)
    sample(Moving(before, after), "0", n=4, seed=1, out=tmp_path / "out.png")
    assert (tmp_path / "out.png").read_bytes().startswith(b"\x89PNG")


def test_one_that_is_missing_for_good_is_corrupt(tmp_path):
    store = running(tmp_path / "store", 5.0)
    digest = discard_best(store)
    with pytest.raises(IntegrityError, match=digest):
        sample(Moving(store), "0", n=4, seed=1, out=tmp_path / "out.png")
