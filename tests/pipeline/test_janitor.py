"""What is removed: each blob once, a few at a time, and never a search's end."""

from __future__ import annotations

import logging

import pytest

from pipeline.book import Trial
from pipeline.janitor import AT_ONCE, Janitor
from tests.fakes import journal
from trainers.errors import Unreachable


class Blobs:
    def __init__(self) -> None:
        self.calls: list[str] = []
        self.refused: set[str] = set()

    def discard(self, digest: str) -> None:
        if digest in self.refused:
            raise Unreachable(f"{digest}: 403")
        self.calls.append(digest)

    def set_aside(self, digest: str) -> str:
        self.calls.append(f"aside {digest}")
        return digest


def grow(trial: Trial, count: int) -> None:
    """Add segments, each of which is better than the last."""
    for index in range(len(trial.segments), len(trial.segments) + count):
        blobs = {"checkpoint": f"c{index}", "generator": f"g{index}"}
        trial.apply(journal.segment(0, index, 10 * index, 10 * index + 10, float(-index), **blobs), index)


def long_trial(count: int) -> Trial:
    trial = Trial(spec=journal.trial(0, steps=10_000).spec)
    grow(trial, count)
    return trial


def test_each_segment_costs_two_removals_however_many_there_were() -> None:
    blobs, trial = Blobs(), long_trial(0)
    janitor = Janitor(blobs)
    for _ in range(60):
        grow(trial, 1)
        janitor.tidy(trial, trial.segments[-1].result)
        janitor.work()
    assert len(blobs.calls) == len(set(blobs.calls)) == 58 + 59  # two checkpoints and one generator stay


def test_a_segment_that_is_trained_again_is_removed_again() -> None:
    blobs, trial = Blobs(), long_trial(5)
    janitor = Janitor(blobs)
    janitor.tidy(trial)
    janitor.work()
    blobs.calls.clear()
    janitor.tidy(trial, trial.segments[1].result)
    janitor.work()
    assert blobs.calls == ["c1", "g1"]


def test_a_few_at_a_time_and_what_is_corrupt_first() -> None:
    blobs = Blobs()
    janitor = Janitor(blobs)
    janitor.tidy(long_trial(100))
    janitor.set_aside("bad")
    assert janitor.work()
    assert (blobs.calls[0], len(blobs.calls)) == ("aside bad", 1 + AT_ONCE)
    while janitor.work():
        pass
    assert len(blobs.calls) == 98 + 99 + 1


def test_what_is_put_again_before_its_turn_came_is_not_removed_unless_it_is_still_too_much() -> None:
    """The best generator may have the bytes of one that waits to be removed."""
    blobs, trial = Blobs(), long_trial(60)
    janitor = Janitor(blobs)
    janitor.tidy(trial)
    again = journal.segment(0, 60, 600, 610, -100.0, checkpoint="c60", generator="g50")
    trial.apply(again, 60)
    janitor.tidy(trial, again.result)
    while janitor.work():
        pass
    assert "g50" not in blobs.calls
    assert "g51" in blobs.calls


def test_what_cannot_be_removed_is_told_and_tried_again(caplog: pytest.LogCaptureFixture) -> None:
    blobs = Blobs()
    janitor = Janitor(blobs)
    janitor.tidy(long_trial(100))
    blobs.refused = {"c0"}
    with caplog.at_level(logging.WARNING):
        turns = 1
        while janitor.work():
            turns += 1
            assert turns < 20, "who goes on until all is done would never end"
    assert "c0: 403" in caplog.text
    assert len(blobs.calls) == 98 + 99 - 1, "one that is refused holds up no other"
    blobs.refused = set()
    janitor.work()
    assert blobs.calls[-1] == "c0"


def test_a_store_that_is_out_of_reach_is_asked_twice_a_turn(caplog: pytest.LogCaptureFixture) -> None:
    blobs = Blobs()
    janitor = Janitor(blobs)
    janitor.tidy(long_trial(100))
    blobs.refused = {f"{kind}{index}" for kind in "cg" for index in range(100)}
    with caplog.at_level(logging.WARNING):
        assert not janitor.work()
    assert len(caplog.records) == 2
    assert blobs.calls == []
