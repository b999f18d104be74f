"""The driver is killed at each step of a commit, its clock jumps, it is asked to stop: the same command goes on."""

from __future__ import annotations

import os
import signal
import time

import pytest

from pipeline.records import TrialState
from tests.command_line import TIMEOUT, document, end, wait_for
from tests.faults.conftest import Note
from tests.faults.drive import POINTS
from tests.faults.held import SEGMENT, Held, losses, steps
from tests.place import STEPS, Place, assert_whole, lost, outcome, retrained, trained_again
from tests.ray_processes import all_but_agents, running

TRIALS = ("--trials", "3")
IN_CI = ("durable",)  # of POINTS: right after the moment from which a commit counts


@pytest.mark.parametrize(
    "point", [pytest.param(point, marks=[] if point in IN_CI else [pytest.mark.long]) for point in POINTS]
)
def test_kill_9_of_the_driver_at_each_step_of_a_commit(place: Held, note: Note, point: str):
    driver = place.begin(*TRIALS, fault={"do": "kill", "at": point, "after": 14})
    try:
        wait_for(lambda: place.waits(trials=2), driver)
        started = all_but_agents(driver.pid)
        place.go_on()
        assert driver.wait(120) == -signal.SIGKILL
        began = time.monotonic()
        wait_for(lambda: not running(started))
        gone = time.monotonic() - began
    finally:
        end(driver)
    before = place.book
    assert 2 * SEGMENT <= sum(steps(before).values()) < 3 * STEPS
    told = document(place.search(*TRIALS))
    assert told["trials"] == {"completed": 3, "pruned": 0, "diverged": 0, "failed": 0}
    assert (told["steps"], told["unsynced"]) == (3 * STEPS, 0)
    assert_whole(place, trials=3)
    assert lost(before, place.book) == 0
    again = trained_again(before, place.book)
    assert again == 0, "a committed segment was trained again though its checkpoint was there"
    for number, trial in before.trials.items():
        assert trial.state.final or retrained(place, number)["identical"] is True
    note(
        f"driver: kill -9, {point}", "no committed step is lost or trained again; the same command ends whole",
        committed_steps_trained_again=again, seconds_until_workers_are_gone=round(gone, 1),
    )  # fmt: skip


@pytest.mark.long
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
    jumped = max(times) - min(times)
    assert jumped > 3000, "the clock did not jump"
    assert outcome(jumps) == outcome(steady)
    assert {trial.state for trial in jumps.trials.values()} == {TrialState.COMPLETED, TrialState.PRUNED}
    note(
        "driver: its clock is set back an hour", "the same trials, states, scores and bits",
        trials=len(jumps.trials), seconds_between_the_times_of_two_segments=round(jumped),
    )  # fmt: skip


@pytest.mark.long  # tests/integration/test_resume.py does so too, and looks at less
@pytest.mark.parametrize("times", [1, 2])
def test_ctrl_c_once_and_twice(place: Held, note: Note, times: int):
    """Once waits for the segments that are under way; twice leaves them, though they would never end."""
    driver = place.begin(*TRIALS)
    try:
        wait_for(lambda: place.waits(trials=2), driver)
        started = all_but_agents(driver.pid)
        began = time.monotonic()
        if times == 1:
            assert place.suspend(driver) == 130
        else:
            driver.send_signal(signal.SIGINT)
            wait_for(lambda: "stopping" in place.talk(), driver)
            driver.send_signal(signal.SIGINT)
            assert driver.wait(120) == 130
        ended = time.monotonic() - began
    finally:
        end(driver)
    assert "Traceback" not in place.talk()
    wait_for(lambda: not running(started))
    before = place.book
    assert steps(before) == dict.fromkeys((0, 1), 2 * SEGMENT if times == 1 else SEGMENT)
    assert {trial.state for trial in before.trials.values()} == {TrialState.SUSPENDED}
    goes_on(place, trials=3)
    assert lost(before, place.book) == 0
    note(
        f"Ctrl-C, {times} times", "exit 130, no trial is given up, no process stays, the same command goes on",
        seconds_until_it_ended=round(ended, 1), committed_steps=sum(steps(before).values()),
    )  # fmt: skip


def test_sigterm_is_safe_within_three_seconds(place: Held, note: Note):
    """As `ray job stop` does it, whose SIGKILL follows within three seconds: here as early as the journal is safe.

    A segment that is under way does not end here, so the driver does not end by itself before it.
    """
    driver = place.begin("--trials", "1")
    try:
        wait_for(lambda: place.waits(trials=1), driver)
        began = time.monotonic()
        driver.send_signal(signal.SIGTERM)
        wait_for(lambda: place.book.trials[0].state is TrialState.SUSPENDED, driver)
        safe = time.monotonic() - began
        assert safe < 3
        driver.kill()
        assert driver.wait(TIMEOUT) == -signal.SIGKILL, "it had ended by itself: nothing was killed"
    finally:
        end(driver)
    before = place.book
    goes_on(place, trials=1)
    assert (lost(before, place.book), trained_again(before, place.book)) == (0, 0)
    note("SIGTERM, SIGKILL once it is safe", "the journal says suspended before the SIGKILL", seconds=round(safe, 2))


@pytest.mark.long
def test_sigterm_of_the_whole_process_group_loses_no_try_of_a_trial(place: Held, note: Note):
    """As systemd, scancel and `timeout` do it: Ray's own processes and the workers are told to end, too."""
    driver = place.begin(*TRIALS)
    try:
        wait_for(lambda: place.waits(trials=2), driver)
        started = all_but_agents(driver.pid)
        began = time.monotonic()
        os.killpg(driver.pid, signal.SIGTERM)
        assert driver.wait(120) == 143, place.talk()
        ended = time.monotonic() - began
    finally:
        end(driver)
    assert "Traceback" not in place.talk()
    wait_for(lambda: not running(started))
    before = place.book
    assert {trial.state for trial in before.trials.values()} == {TrialState.SUSPENDED}
    assert losses(before) == []
    goes_on(place, trials=3)
    assert losses(place.book) == []
    note(
        "SIGTERM to the whole process group", "exit 143; suspended, and no try of a trial is used up",
        seconds_until_it_ended=round(ended, 1),
    )  # fmt: skip


def goes_on(place: Held, trials: int) -> None:
    """The same command, whose trials wait no longer, ends whole."""
    place.go_on()
    assert document(place.search("--trials", str(trials)))["trials"]["completed"] == trials
    assert_whole(place, trials=trials)
