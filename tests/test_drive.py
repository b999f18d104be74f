"""A fault that is misspelt is refused: else its test would pass without it."""

from __future__ import annotations

import pytest

from tests.faults.drive import ACTS, POINTS, Fault


@pytest.mark.parametrize(("do", "at"), [("crash", "durable"), ("kil", "durable"), ("kill", "durabel"), ("", "")])
def test_a_fault_that_is_none_is_refused(do: str, at: str) -> None:
    with pytest.raises(ValueError, match="a fault must do one of"):
        Fault(do, at)


@pytest.mark.parametrize("do", ACTS)
@pytest.mark.parametrize("at", POINTS)
def test_every_fault_that_is_told_of_is_one(do: str, at: str) -> None:
    assert Fault(do, at, 3).left == 3
