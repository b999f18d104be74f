"""The driver is killed at each step of a commit, its clock jumps, it is asked to stop: the same command goes on."""

from __future__ import annotations

import signal
import subprocess
import time
from typing import Any

import psutil
import pytest

from pipeline.book import Book
from pipeline.records import TrialState
from tests.command_line import Done, alive, descendants, document, end, wait_for
from tests.faults.conftest import Note
from tests.faults.drive import POINTS
from tests.place import STEPS, Place, assert_whole, retrained

TRIALS = ("--trials", "3")


def is_training(process: psutil.Process) -> bool:
    return "Agent" not in process.name()  # Ray's agents take more than a minute to notice that they are alone


def steps(book: Book) -> int:
    return sum(trial.steps for trial in book.trials.values())


@pytest.mark.parametrize("point", POINTS)
def test_kill_9_of_the_driver_at_each_step_of_a_commit(place: Place, note: Note, point: str):
    driver = place.begin(*TRIALS, fault={"do": "kill", "at": point, "after": 14})
    try:
        wait_for(lambda: place.segments() >= 1, driver)
        started = [process for process in descendants(driver.pid) if is_training(process)]
        assert driver.wait(120) == -signal.SIGKILL
        began = time.monotonic()
        wait_for(lambda: not any(map(alive, started)))
        gone = time.monotonic() - began
    finally:
        end(driver)
    before = place.book
    assert 0 < steps(before) < 3 * STEPS
    told = document(place.search(*TRIALS))
    assert told["trials"] == {"completed": 3, "pruned": 0, "diverged": 0, "failed": 0}
    assert (told["steps"], told["unsynced"]) == (3 * STEPS, 0)
    assert_whole(place, trials=3)
    after = place.book
    for number, trial in before.trials.items():
        assert after.trials[number].segments[: len(trial.segments)] == trial.segments
    again = 0
    for number, trial in before.trials.items():
        if not trial.state.final:
            assert retrained(place, number)["identical"] is True
            again += trial.steps - after.trials[number].attempts[len(trial.attempts)].step
    assert again == 0, "a committed segment was trained again though its checkpoint was there"
    note(
        f"driver: kill -9, {point}", "no committed step is lost or trained again; the same command ends whole",
        committed_steps_trained_again=again, seconds_until_workers_are_gone=round(gone, 1),
    )  # fmt: skip


def outcome(book: Book) -> Any:
    return [
        (t.spec.params, t.state, t.score, t.steps, [s.result.history for s in t.segments]) for t in book.trials.values()
    ]


def test_the_clock_is_set_back_an_hour_between_two_segments(tmp_path, note: Note):
    """Halving compares trials in the order of the journal, whatever the clock says."""
    options = ("--trials", "8", "--set", "halving={enabled: true, first_rung: 60, eta: 2}")
    options += ("--set", "schedule=reproducible", "--set", "evaluation.samples=2000")  # few give equal scores
    places = []
    for name, fault in (("jumps", {"do": "clock", "at": "durable", "after": 9}), ("steady", None)):
        (tmp_path / name).mkdir()
        places.append(Place(tmp_path / name))
        driver = places[-1].begin(*options, fault=fault)
        try:
            assert driver.wait(240) == 0, places[-1].talk()
        finally:
            end(driver)
    jumps, steady = (place.book for place in places)
    times = [segment.at for trial in jumps.trials.values() for segment in trial.segments]
    assert max(times) - min(times) > 3000, "the clock did not jump"
    assert outcome(jumps) == outcome(steady)
    assert {trial.state for trial in jumps.trials.values()} == {TrialState.COMPLETED, TrialState.PRUNED}
    note("driver: its clock is set back an hour", "the same trials, states, scores and bits", differences=0)


@pytest.mark.parametrize("times", [1, 2])
def test_ctrl_c_once_and_twice(place: Place, note: Note, times: int):
    driver = place.begin(*TRIALS)
    try:
        wait_for(lambda: place.segments() >= 5, driver)
        workers = [process for process in descendants(driver.pid) if is_training(process)]
        began = time.monotonic()
        driver.send_signal(signal.SIGINT)
        if times == 2:
            wait_for(lambda: "stopping" in place.talk(), driver)
            driver.send_signal(signal.SIGINT)
        assert driver.wait(120) == 130
        ended = time.monotonic() - began
    finally:
        end(driver)
    assert "Traceback" not in place.talk()
    wait_for(lambda: not any(map(alive, workers)))
    before = steps(place.book)
    assert not any(trial.state is TrialState.RUNNING for trial in place.book.trials.values())
    goes_on(place)
    note(
        f"Ctrl-C, {times} times", "exit 130, no trial is given up, no process stays, the same command goes on",
        seconds_until_it_ended=round(ended, 1), committed_steps=before,
    )  # fmt: skip


def test_sigterm_is_safe_within_three_seconds(place: Place, note: Note):
    """As `ray job stop` does it: SIGKILL follows three seconds later. A segment takes minutes here."""
    long = ("--set", "segment_steps=100000", "--steps", "100000", "--trials", "1")
    driver = place.begin(*long)
    try:
        wait_for(lambda: attempts(place.book) == 1 if begun(place) else False, driver)
        began = time.monotonic()
        driver.send_signal(signal.SIGTERM)
        wait_for(lambda: place.book.trials[0].state is TrialState.SUSPENDED, driver)
        safe = time.monotonic() - began
        assert safe < 3
        time.sleep(max(0.0, 3 - safe))  # this is what the one who sends the signals does
        kill_tree(driver)
    finally:
        end(driver)
    goes_on(place, *long[:4], stop_at_once=True)
    note("SIGTERM, SIGKILL after 3 s", "the journal says suspended before the SIGKILL", seconds=round(safe, 2))


def begun(place: Place) -> bool:
    return (place.folder / "store" / "studies" / "ring" / "journal").is_dir()


def attempts(book: Book) -> int:
    return sum(len(trial.attempts) for trial in book.trials.values())


def kill_tree(driver: subprocess.Popen[str]) -> None:
    started = descendants(driver.pid) if driver.poll() is None else []
    for process in started:
        if alive(process):
            process.kill()
    driver.kill()
    driver.wait(60)


def goes_on(place: Place, *options: str, stop_at_once: bool = False) -> Done | None:
    """The same command goes on; where a segment takes minutes, seeing that it takes the trial up again is enough."""
    if not stop_at_once:
        done = place.search(*TRIALS)
        assert document(done)["trials"]["completed"] == 3
        assert_whole(place, trials=3)
        return done
    driver = place.begin(*options, "--trials", "1")
    try:
        wait_for(lambda: attempts(place.book) == 2, driver)
        assert place.book.trials[0].state is TrialState.RUNNING
    finally:
        kill_tree(driver)
        end(driver)
    return None
