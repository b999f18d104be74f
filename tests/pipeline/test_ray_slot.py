"""What an executor remembers, so that Ray is not asked again and no first error is lost; needs no running Ray."""

from __future__ import annotations

import pytest

from pipeline.ray_executor import RayExecutor
from pipeline.ray_slot import SUSPICION, NodeHealth, Slot, has_opened
from trainers.errors import IntegrityError, Unreachable


def test_an_actor_that_has_its_place_is_not_asked_about_again():
    assert has_opened(Slot(name="worker-0", host=None, opened=None, since=0.0, has_answered=True))


def test_of_several_errors_the_first_is_raised():
    executor = object.__new__(RayExecutor)
    executor._error = None
    executor._keep(IntegrityError("the first"))
    executor._keep(Unreachable("what followed from it"))
    with pytest.raises(IntegrityError, match="the first"):
        executor.next(0.0)
    assert executor._error is None


def on(node: str, since: float) -> Slot:
    return Slot(name="worker-0", host=node, opened=None, since=since, has_answered=True)


def test_a_segment_that_takes_far_longer_than_those_before_it_is_told_once_a_job():
    slot = on("a", since=0.0)
    slot.hold(trial=3, attempt=0)
    slot.expect("first", now=100.0)
    assert not slot.seems_to_hang(1e6), "there is nothing to compare the first segment with"
    assert slot.answered(now=110.0) == "first"
    assert not slot.seems_to_hang(1e6), "nothing is under way"
    slot.expect("second", now=200.0)
    assert [slot.seems_to_hang(now) for now in (359.0, 361.0, 362.0)] == [False, True, False]
    slot.answered(now=400.0)
    slot.hold(trial=4, attempt=0)
    slot.expect("first of another", now=400.0)
    assert not slot.seems_to_hang(1e6)
    assert slot.calls == 3


class Clock:
    now = 100.0


def node_health() -> NodeHealth:
    Clock.now = 100.0
    return NodeHealth(where=lambda slot: slot.host, clock=lambda: Clock.now)


def test_workers_of_a_node_that_lost_one_are_in_doubt_for_a_while_and_no_others_are():
    health = node_health()
    before, after, elsewhere = on("a", since=50.0), on("a", since=100.5), on("b", since=50.0)
    health.lost(on("a", since=40.0))
    Clock.now += 1.0
    assert [health.in_doubt(slot) for slot in (before, after, elsewhere)] == [True, False, False]
    Clock.now += SUSPICION - 2.0
    assert health.in_doubt(before)
    Clock.now += 2.0
    assert not health.in_doubt(before)


def test_a_worker_that_died_as_it_opened_is_on_no_node_that_could_be_trusted():
    assert NodeHealth(where=lambda slot: None).in_doubt(on("a", since=50.0))


def test_nobody_is_in_doubt_where_nothing_was_lost():
    assert not node_health().in_doubt(on("a", since=50.0))
