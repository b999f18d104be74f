"""A KeyboardInterrupt at any line of a write leaves a journal that can be read, and a ledger that writes no more."""

from __future__ import annotations

import sys
from contextlib import suppress
from types import FrameType
from typing import Any

import pytest

from pipeline import ledger as module
from pipeline.ledger import Ledger, read_book, read_records
from pipeline.records import Record, TrialState
from tests.fakes.journal import attempt, decision, study, trial
from tests.fakes.memory_store import MemoryStore
from trainers.errors import GansearchError

LINES = 60  # more than a write has


class Interrupts:
    """Raises KeyboardInterrupt before the line of ledger.py that is executed as number `line`."""

    def __init__(self, line: int) -> None:
        self.left = line

    def __enter__(self) -> None:
        sys.settrace(self._trace)

    def __exit__(self, *_: object) -> None:
        sys.settrace(None)

    def _trace(self, frame: FrameType, event: str, _: Any) -> Any:
        if frame.f_code.co_filename != module.__file__:
            return None
        if event == "line":
            self.left -= 1
            if self.left < 0:
                sys.settrace(None)
                raise KeyboardInterrupt
        return self._trace


def interrupted(store: MemoryStore, line: int) -> bool:
    """Write two turns, the second one interrupted, and then do what a search does; return whether it came to that."""
    turns: list[tuple[Record, ...]] = [(trial(0), attempt(0)), (trial(1), attempt(1))]
    with Ledger.open(store, "digits") as ledger:
        ledger.append(study(study="digits"))
        ledger.append(*turns[0])
        try:
            with Interrupts(line):
                ledger.stage(*turns[1])
                ledger.commit()
        except KeyboardInterrupt:
            with suppress(GansearchError):
                ledger.stage(*(decision(n, TrialState.SUSPENDED) for n in ledger.book.trials))
                ledger.commit()
            return True
    return False


@pytest.mark.parametrize("line", range(LINES))
def test_whatever_is_interrupted_can_be_read_and_gone_on_with(line: int) -> None:
    store = MemoryStore()
    interrupted(store, line)
    book = read_book(store, "digits")
    assert set(book.trials) in ({0}, {0, 1})
    with Ledger.open(store, "digits") as ledger:
        ledger.append(trial(len(book.trials)))
    kinds = [record.kind for record in read_records(store, "digits")]
    assert kinds.count("trial") == len(book.trials) + 1


def test_all_lines_of_a_write_are_tried() -> None:
    assert [interrupted(MemoryStore(), line) for line in (0, LINES)] == [True, False]
