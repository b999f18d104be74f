"""Ctrl-C twice breaks off what blocks, and waits for the end of what must not end in its middle."""

from __future__ import annotations

import signal

import pytest

from pipeline import signals
from pipeline.signals import StopRequest
from tests.fakes.signal_handlers import kept_handlers  # noqa: F401 - a fixture

pytestmark = pytest.mark.usefixtures("kept_handlers")


@pytest.fixture
def said() -> list[str]:
    return []


@pytest.fixture
def stop(said: list[str]) -> StopRequest:
    return StopRequest(said.append)


def ctrl_c() -> None:
    signal.raise_signal(signal.SIGINT)


def test_nothing_is_asked_for_before_a_signal(stop: StopRequest, said: list[str]) -> None:
    with stop.uninterrupted():
        pass
    assert (stop.made, stop.hurry, stop.patience, stop.exit_code, said) == (False, False, float("inf"), 0, [])


def test_ctrl_c_once_asks_and_leaves_time(stop: StopRequest, said: list[str]) -> None:
    ctrl_c()
    assert (stop.made, stop.hurry, stop.patience, stop.exit_code) == (True, False, float("inf"), 130)
    assert said == ["stopping: what is being trained is kept, and the same command goes on with it"]


@pytest.mark.parametrize("error", [OSError(5, "Input/output error"), RuntimeError("reentrant call")])
def test_a_signal_breaks_nothing_off_where_nobody_can_be_told(error: Exception) -> None:
    def fails(line: str) -> None:
        raise error

    stop = StopRequest(fails)
    signal.raise_signal(signal.SIGTERM)
    assert (stop.made, stop.exit_code) == (True, 143)


def test_ctrl_c_twice_breaks_off_what_blocks(stop: StopRequest, said: list[str]) -> None:
    ctrl_c()
    with pytest.raises(KeyboardInterrupt):
        ctrl_c()
    assert (stop.hurry, stop.patience, stop.exit_code, len(said)) == (True, 0.0, 130, 1)
    ctrl_c()  # a third must not break off what ends the workers


def test_ctrl_c_twice_waits_for_the_end_of_what_must_not_end_in_its_middle(stop: StopRequest) -> None:
    seen: list[tuple[bool, float]] = []

    def work() -> None:
        with stop.uninterrupted():
            for _ in range(3):
                ctrl_c()
                seen.append((stop.hurry, stop.patience))

    with pytest.raises(KeyboardInterrupt):
        work()
    assert seen == [(False, float("inf")), (True, 0.0), (True, 0.0)]


def test_an_error_that_is_on_its_way_is_not_replaced(stop: StopRequest) -> None:
    def fails_within() -> None:
        with stop.uninterrupted():
            ctrl_c()
            ctrl_c()
            raise ValueError("within")

    def fails_before() -> None:
        try:
            raise ValueError("before")
        finally:
            with stop.uninterrupted():
                pass

    with pytest.raises(ValueError, match="within"):
        fails_within()
    with pytest.raises(ValueError, match="before"):
        fails_before()


def test_one_within_another_is_raised_at_the_end_of_the_outer(stop: StopRequest) -> None:
    seen: list[str] = []

    def work() -> None:
        with stop.uninterrupted():
            with stop.uninterrupted():
                ctrl_c()
                ctrl_c()
            seen.append("goes on")

    with pytest.raises(KeyboardInterrupt):
        work()
    assert seen == ["goes on"]


def test_sigterm_hurries_what_is_under_way_after_a_grace_and_mlflow_at_once(
    stop: StopRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = signals.time.monotonic()
    signal.raise_signal(signal.SIGTERM)
    assert (stop.hurry, stop.patience, stop.exit_code) == (False, signals.HURRY, 143)
    monkeypatch.setattr("time.monotonic", lambda: now + signals.GRACE + 60)
    assert stop.hurry


def test_ctrl_c_after_sigterm_ends_at_once(stop: StopRequest) -> None:
    signal.raise_signal(signal.SIGTERM)
    with pytest.raises(KeyboardInterrupt):
        ctrl_c()
    assert (stop.patience, stop.exit_code) == (0.0, 130)
