"""A search is stopped, taken over or left without its trackers, at any moment: with made-up trainings."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

from pipeline import journal
from pipeline.book import Book
from pipeline.config import SearchConfig
from pipeline.launch import OVERTIME, Driver, launch
from pipeline.ledger import read_book
from pipeline.ports import Prepared
from pipeline.projection import Outcome
from pipeline.projector import Shown, Tracker
from pipeline.records import TrialState
from pipeline.result import Result
from pipeline.signals import StopRequest
from pipeline.store import Store, open_store
from tests.fakes import search_bench as bench
from tests.fakes.scripted_executor import Course, ScriptedExecutor, in_turn
from tests.fakes.signal_handlers import kept_handlers  # noqa: F401 - a fixture
from tests.fakes.tracker import MemoryTracker
from trainers.config import TrainConfig
from trainers.errors import ConfigError, IntegrityError, StateConflict, Unreachable

pytestmark = pytest.mark.usefixtures("kept_handlers")
SOON = 20.0  # seconds: far below the 120 that MLflow is given by itself
NO_SCORE = {number: Course(scores=(None,) * 6) for number in range(9)}  # so that nothing is drawn in the end


@pytest.fixture
def stop() -> StopRequest:
    return StopRequest(lambda _: None)


@pytest.fixture
def config(tmp_path: Path) -> SearchConfig:
    return bench.config(trials=2, segments=3, store=str(tmp_path / "store"), workers=2)


class Workers(ScriptedExecutor):
    """Made-up trainings whose end may bring a signal."""

    at_close: Callable[[], None] = staticmethod(lambda: None)
    digest = "a" * 64  # of the data

    def prepare(self, config: TrainConfig, extractor: str | None = None) -> Prepared:
        found = super().prepare(config, extractor)
        return found.model_copy(update={"data": found.data | {"digest": self.digest}})

    def close(self) -> None:
        super().close()
        self.at_close()


class AfterTheEnd(MemoryTracker):
    """Is down, and sends a signal, so many times, whenever it is asked after the workers have ended.

    Its projector outlives the search, and would send signals to whatever comes next.
    """

    executor: Workers | None = None
    signals: list[int]
    stop: StopRequest
    sent = False

    def show(self, book: Book, trial: int | None, began: float) -> Shown:
        self._notice()
        return super().show(book, trial, began)

    def finish(self, book: Book, outcome: Outcome) -> IntegrityError | None:
        self._notice()
        return super().finish(book, outcome)

    def _notice(self) -> None:
        if self.executor is not None and self.executor.closed and self.signals and self.stop.made == self.sent:
            self.sent = True  # two that wait for the main thread at the same time would be one
            os.kill(os.getpid(), self.signals.pop())


def run(
    config: SearchConfig,
    stop: StopRequest | None = None,
    *trackers: MemoryTracker,
    choose: Callable[[list[str]], list[tuple[str, str]]] = in_turn,
    at_close: Callable[[], None] = lambda: None,
    digest: str = Workers.digest,
    **driver: Any,
) -> Result:
    def workers(store: Store, search: SearchConfig, _: Driver) -> Workers:
        names = tuple(f"worker-{number}" for number in range(search.workers))
        made = Workers(store=store, courses=NO_SCORE, workers=names, choose=choose)
        made.at_close = at_close  # type: ignore[method-assign]
        made.digest = digest
        for tracker in trackers:
            if isinstance(tracker, AfterTheEnd):
                tracker.executor = made
        return made

    def shown(*_: object, **__: object) -> list[Tracker]:
        return list(trackers or [MemoryTracker()])

    if stop is not None:
        asked = {"should_stop": lambda: stop.made, "abandon": lambda: stop.hurry, "patience": lambda: stop.patience}
        driver = {**asked, "uninterrupted": stop.uninterrupted, **driver}
    return launch(config, Driver(**driver), open_executor=workers, open_trackers=shown)


def book(config: SearchConfig) -> Book:
    return read_book(open_store(config.store), config.study)


def ctrl_c(times: int = 2) -> None:
    for _ in range(times):
        signal.raise_signal(signal.SIGINT)


def at_step(step: int, then: Callable[[], None]) -> Callable[[list[str]], list[tuple[str, str]]]:
    """Let `then` happen before the given answer, from 0 on."""
    left = [step]

    def choose(workers: list[str]) -> list[tuple[str, str]]:
        left[0] -= 1
        if left[0] == -1:
            then()
        return in_turn(workers)

    return choose


def test_a_search_runs_to_its_end_and_is_shown(config: SearchConfig) -> None:
    tracker = MemoryTracker()
    result = run(config, None, tracker)
    assert (result.finished, result.trained, result.lagging, result.document()["unsynced"]) == (True, True, {}, 0)
    assert (tracker.outcome, tracker.steps) == ("finished", {None: 0, 0: 30, 1: 30})
    again = run(config, None, tracker)
    assert (again.finished, again.trained) == (True, False)


# -- signals -----------------------------------------------------------------------------------------------------------


def test_what_a_driver_that_died_in_the_end_did_not_remove_is_removed(config: SearchConfig) -> None:
    run(config)
    trial, store = book(config).trials[0], open_store(config.store)
    left = store.put(f"{trial.spec.key}@10".encode())  # a checkpoint, as `ScriptedExecutor` writes it
    assert left == trial.segments[0].result.checkpoint
    run(config)
    with pytest.raises(IntegrityError, match="missing"):
        store.get(left)


@pytest.mark.parametrize("step", [0, 3])
def test_ctrl_c_twice_while_it_trains_suspends_and_waits_for_no_tracker(
    config: SearchConfig, stop: StopRequest, step: int
) -> None:
    began = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        run(config, stop, MemoryTracker(down=True), choose=at_step(step, ctrl_c))
    assert time.monotonic() - began < SOON
    assert {trial.state for trial in book(config).trials.values()} == {TrialState.SUSPENDED}
    assert stop.exit_code == 130
    signal.signal(signal.SIGINT, signal.default_int_handler)
    assert run(config).finished


def test_a_training_that_hangs_is_left_some_time_after_max_hours(config: SearchConfig) -> None:
    now = 0.0

    def hang(_: list[str]) -> list[tuple[str, str]]:
        nonlocal now
        now += OVERTIME / 4
        assert now < 3600 + 2 * OVERTIME, "it is waited for without end"
        return []

    result = run(config.model_copy(update={"max_hours": 1.0}), choose=hang, clock=lambda: now)
    assert not result.finished
    assert now > 3600 + OVERTIME
    assert {trial.state for trial in book(config).trials.values()} == {TrialState.SUSPENDED}


def test_ctrl_c_twice_lets_the_workers_end_and_waits_for_no_tracker(config: SearchConfig, stop: StopRequest) -> None:
    began, ended = time.monotonic(), []

    def close() -> None:
        ctrl_c()
        ended.append(True)

    with pytest.raises(KeyboardInterrupt):
        run(config, stop, MemoryTracker(down=True), at_close=close)
    assert time.monotonic() - began < SOON
    assert ended


def test_a_keyboard_interrupt_that_nobody_caught_waits_for_no_tracker_either(config: SearchConfig) -> None:
    def interrupt() -> None:
        raise KeyboardInterrupt

    began = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        run(config, None, MemoryTracker(down=True), at_close=interrupt)
    assert time.monotonic() - began < SOON


@pytest.mark.parametrize("finished", [False, True])
def test_ctrl_c_twice_while_mlflow_is_waited_for_ends_at_once(
    config: SearchConfig, stop: StopRequest, finished: bool
) -> None:
    if finished:  # nothing is trained: it is only shown
        run(config)
    began, tracker = time.monotonic(), AfterTheEnd(down=True)
    tracker.signals = [signal.SIGINT, signal.SIGINT]
    tracker.stop = stop
    if finished:
        tracker.executor = Workers(store=open_store(config.store), courses={}, workers=(), choose=in_turn, closed=True)
    with pytest.raises(KeyboardInterrupt):
        run(config, stop, tracker)
    assert time.monotonic() - began < SOON
    assert book(config).finished == 2


def test_sigterm_gives_mlflow_a_moment_however_soon_the_search_has_stopped(
    config: SearchConfig, stop: StopRequest
) -> None:
    began, said = time.monotonic(), []
    choose = at_step(2, lambda: signal.raise_signal(signal.SIGTERM))
    result = run(config, stop, MemoryTracker(down=True), choose=choose, say=said.append)
    assert time.monotonic() - began < SOON
    assert (result.finished, stop.exit_code) == (False, 143)
    assert result.lagging["MLflow"] == result.document()["unsynced"] > 0
    assert said[-1].startswith("MLflow was not brought up to date: ConnectionError: nobody answers; `gansearch sync`")


def test_sigterm_while_mlflow_is_waited_for_leaves_it_a_moment(config: SearchConfig, stop: StopRequest) -> None:
    began, tracker = time.monotonic(), AfterTheEnd(down=True)
    tracker.signals = [signal.SIGTERM]
    tracker.stop = stop
    result = run(config, stop, tracker)
    assert time.monotonic() - began < SOON
    assert (result.finished, result.lagging["MLflow"] > 0) == (True, True)


def test_ctrl_c_twice_at_any_line_of_a_write_suspends_every_trial(tmp_path: Path) -> None:
    """Two signals come at each n-th line that the ledger runs: nothing that follows from a write is left undone."""
    lines, apart = 0, 13
    for number in range(1000):
        search = bench.config(trials=1, segments=2, store=str(tmp_path / f"{number}"), workers=1)
        stop, trace = StopRequest(lambda _: None), Trace("pipeline/ledger.py", 20 + number * apart)
        sys.settrace(trace)
        try:
            result = run(search, stop)
        except KeyboardInterrupt:
            result = None
        finally:
            sys.settrace(None)
        assert (result is None) == trace.struck
        lines = trace.lines
        found = book(search)
        assert TrialState.RUNNING not in {trial.state for trial in found.trials.values()}, f"at line {trace.at}"
        signal.signal(signal.SIGINT, signal.default_int_handler)
        if result is not None:
            break
        assert run(search).finished
    assert lines > 10 * apart, "the search ended before it was struck"


class Trace:
    """Sends Ctrl-C twice at the n-th line that is run of a file."""

    def __init__(self, file: str, at: int) -> None:
        self.file, self.at, self.lines, self.struck = file, at, 0, False

    def __call__(self, frame: FrameType, event: str, _: Any) -> Any:
        return self.line if frame.f_code.co_filename.endswith(self.file) else None

    def line(self, frame: FrameType, event: str, _: Any) -> Any:
        if event == "line":
            self.lines += 1
            if self.lines == self.at:
                self.struck = True
                ctrl_c()
        return self.line


# -- what ends badly ---------------------------------------------------------------------------------------------------


def test_an_error_is_told_though_the_workers_do_not_end_well_either(config: SearchConfig) -> None:
    def first() -> None:
        raise IntegrityError("the first error")

    def second() -> None:
        raise Unreachable("the workers do not end")

    with pytest.raises(IntegrityError, match="the first error"):
        run(config, choose=at_step(1, first), at_close=second)
    with pytest.raises(Unreachable, match="the workers do not end"):
        run(config, at_close=second)


# -- another driver ----------------------------------------------------------------------------------------------------


def test_a_driver_that_was_replaced_shows_nothing_more(config: SearchConfig) -> None:
    tracker = MemoryTracker()

    def replaced() -> None:
        journal.open_epoch(open_store(config.store), config.study)

    began = time.monotonic()
    with pytest.raises(StateConflict, match="another driver took study 'bench' over"):
        run(config, None, tracker, choose=at_step(3, replaced))
    assert time.monotonic() - began < SOON
    assert tracker.outcome is None, "nothing is ended: the other one shows it"


@pytest.mark.parametrize("trials", [2, 5])  # nothing is left to train, or something is
def test_a_driver_that_a_tracker_refuses_has_changed_nothing(config: SearchConfig, trials: int) -> None:
    def refuses(*_: object, **__: object) -> list[Tracker]:
        raise ConfigError("study_storage must be another database than MLflow's")

    run(config)
    before = book(config).config
    changed = config.model_copy(update={"trials": trials, "study_storage": "sqlite:///elsewhere.db"})
    with pytest.raises(ConfigError, match="must be another database"):
        launch(changed, Driver(), open_trackers=refuses)
    assert book(config).config == before
    assert run(changed).finished
    assert book(config).config == changed.model_dump(mode="json")


def test_a_driver_whose_workers_do_not_start_has_changed_nothing(config: SearchConfig) -> None:
    def no_workers(*_: object) -> Workers:
        raise Unreachable("Ray does not answer")

    run(config)
    before = book(config).config
    with pytest.raises(Unreachable, match="Ray does not answer"):
        launch(
            config.model_copy(update={"trials": 5}),
            Driver(),
            open_executor=no_workers,
            open_trackers=lambda *_, **__: [MemoryTracker()],
        )
    assert book(config).config == before


def test_a_driver_that_finds_other_data_has_changed_nothing_until_it_is_allowed_to(config: SearchConfig) -> None:
    run(config)
    before = book(config).config
    changed = config.model_copy(update={"trials": 3, "seed": config.seed + 1})
    with pytest.raises(StateConflict, match="data digest"):
        run(config.model_copy(update={"trials": 3}), digest="b" * 64)
    assert book(config).config == before
    assert run(changed, allow_drift=True, digest="b" * 64).finished
    assert book(config).config == changed.model_dump(mode="json")
    told = [line.partition(":")[0] for line in book(config).allowed]
    assert told == ["seed", "data digest"]


def test_a_driver_that_is_replaced_while_it_waits_for_mlflow_says_so(config: SearchConfig) -> None:
    def replaced() -> None:
        journal.open_epoch(open_store(config.store), config.study)

    tracker = MemoryTracker()
    with pytest.raises(StateConflict, match="another driver took study 'bench' over"):
        run(config, None, tracker, at_close=replaced)
    assert tracker.outcome is None


# -- trackers ----------------------------------------------------------------------------------------------------------


def test_each_tracker_is_called_by_its_name(config: SearchConfig) -> None:
    said: list[str] = []
    first, second = MemoryTracker(), MemoryTracker(down=True)
    result = run(config, None, first, second, say=said.append, patience=lambda: 1.0)
    assert first.outcome == "finished"
    assert list(result.lagging) == ["Optuna's database"]
    assert [line for line in said if "brought up to date" in line] == [
        "Optuna's database was not brought up to date: ConnectionError: nobody answers; `gansearch sync` shows the rest"
    ]


def test_a_tracker_that_is_down_is_refused_where_a_study_begins_and_told_where_it_goes_on(config: SearchConfig) -> None:
    asked: list[bool] = []
    said: list[str] = []

    def shown(*where: Any, taken_over: object) -> list[Tracker]:
        absent = where[-1]
        asked.append(absent is not None)
        if absent is None:
            raise Unreachable("nobody answers")
        absent("nobody answers")
        return [MemoryTracker(down=True)]

    def workers(store: Store, search: SearchConfig, _: Driver) -> Workers:
        return Workers(store=store, courses=NO_SCORE, workers=("worker-0",), choose=in_turn)

    driver = Driver(say=said.append, patience=lambda: 0.1)
    with pytest.raises(Unreachable, match="nobody answers"):
        launch(config, driver, open_executor=workers, open_trackers=shown)
    assert book(config).study is None
    run(config.model_copy(update={"trials": 1}))
    result = launch(config, driver, open_executor=workers, open_trackers=shown)
    assert asked == [False, True]
    assert said[0] == "nobody answers"
    assert (result.finished, result.trained, result.lagging["MLflow"] > 0) == (True, True, True)
