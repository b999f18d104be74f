"""What an executor remembers, so that Ray is not asked again and no first error is lost; needs no running Ray."""

from __future__ import annotations

import pytest

from pipeline.ray_executor import RayExecutor
from pipeline.ray_slot import Slot, has_opened
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
