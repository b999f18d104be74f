"""The same command goes on with a study: after its end, after Ctrl-C, and after kill -9 at any moment."""

from __future__ import annotations

import re
import signal
from pathlib import Path
from typing import Any

import pytest

from pipeline.ledger import Ledger, read_records
from pipeline.records import TrialState
from tests.command_line import Done, descendants, document, end, free_port, gansearch, refusal, wait_for
from tests.faults.held import SEGMENT, Held, steps
from tests.finished_search import Finished
from tests.place import STEPS, Place, assert_whole, retrained
from tests.ray_processes import all_but_agents, running

pytestmark = [
    # What MLflow does inside itself is not ours to mend.
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
]


def test_a_finished_study_says_so_and_trains_nothing(finished: Finished):
    before = read_records(finished.store, "tiny")
    done = gansearch("search", "tiny.yaml", "--store", "store", cwd=finished.folder)
    assert done.returncode == 0, done.stderr
    assert "finished already; nothing was trained (a larger --trials goes on)" in done.stdout
    assert "workers" not in done.stderr  # none was started
    assert read_records(finished.store, "tiny") == before


def test_a_changed_search_is_refused_with_the_differences_and_the_mend(finished: Finished):
    before = read_records(finished.store, "tiny")
    changed = ("--seed", "9", "--space", "wgan", "--set", "optim.beta2=0.9", "--trials", "20", "--workers", "1")
    file = finished.folder / "changed.yaml"
    file.write_text(finished.file.read_text().split("enqueue:")[0])
    message = refusal(finished.run("search", file, *changed), 5)
    for difference in (
        "seed: 3 in the study, 9 now",
        "space: classic in the study, wgan now",
        "optim.beta2: null in the study, 0.9 now",
        "enqueue: ",
    ):
        assert difference in message
    assert message.count(" in the study, ") == 4  # a larger budget and another number of workers are no difference
    assert "another --study" in message
    assert "--allow-drift" in message
    assert read_records(finished.store, "tiny") == before


def test_a_study_in_use_is_refused_with_its_user(finished: Finished):
    with Ledger.open(finished.store, "tiny"):
        message = refusal(finished.run("search", "tiny.yaml", "--trials", "20"), 5)
    assert re.search(r"study 'tiny' is in use by process \d+ on \S+; wait for its end, or stop it", message)


@pytest.mark.slow
def test_kill_9_of_the_driver_loses_nothing_and_changes_no_bit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    place = Held(tmp_path, step=STEPS // 2)
    driver = place.begin("--trials", "3")
    try:
        wait_for(lambda: place.waits(trials=2), driver)
        started = all_but_agents(driver.pid)
        driver.kill()
        driver.wait()
        cut = steps(place.book)
        wait_for(lambda: not running(started))
    finally:
        end(driver)
    assert cut == dict.fromkeys((0, 1), STEPS // 2 - SEGMENT)

    place.go_on()
    told = document(place.search("--trials", "3"))
    assert told["trials"] == {"completed": 3, "pruned": 0, "diverged": 0, "failed": 0}
    assert (told["steps"], told["unsynced"]) == (3 * STEPS, 0)
    assert_whole(place, trials=3)
    for number, committed in cut.items():
        assert [attempt.step for attempt in place.book.trials[number].attempts] == [0, committed]
    monkeypatch.setenv("FAULT_FOLDER", str(tmp_path))
    assert retrained(place, 0) == {
        "trial": 0, "steps_compared": STEPS, "identical": True,
        "first_difference": None, "same_environment": True,
    }  # fmt: skip


@pytest.mark.long
@pytest.mark.slow
def test_no_process_of_a_killed_driver_stays(tmp_path: Path):
    place = Held(tmp_path)
    driver = place.begin()
    try:
        wait_for(lambda: place.waits(trials=1), driver)
        started = descendants(driver.pid)
        assert len(started) > len(all_but_agents(driver.pid))
        driver.kill()
        wait_for(lambda: not running(started))  # Ray's two agents take more than a minute to notice
    finally:
        end(driver)


@pytest.mark.long
@pytest.mark.slow
def test_a_larger_budget_goes_on_and_leaves_what_is_finished_alone(tmp_path: Path):
    place = Place(tmp_path)
    assert document(place.search("--trials", "1"))["steps"] == STEPS
    first = place.book.trials[0]
    assert document(place.search("--trials", "3"))["steps"] == 3 * STEPS
    assert place.book.trials[0].segments == first.segments
    assert_whole(place, trials=3)
    params = [trial.spec.params for trial in place.book.trials.values()]
    assert len({str(p) for p in params}) == 3


@pytest.mark.slow
@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), pytest.param(signal.SIGTERM, 143, marks=pytest.mark.long)]
)
def test_a_signal_suspends_and_the_same_command_goes_on(tmp_path: Path, number, code):
    place = Held(tmp_path)
    driver = place.begin("--trials", "3")
    try:
        wait_for(lambda: place.waits(trials=2), driver)
        started = descendants(driver.pid)
        assert place.suspend(driver, number) == code
    finally:
        end(driver)
    assert "stopping" in place.talk()
    assert "the same command goes on" in place.talk()
    assert "Traceback" not in place.talk()
    assert running(started) == []
    told = document(Done([], 0, (tmp_path / "stdout.txt").read_text(), place.talk()))
    assert sum(told["trials"].values()) == 0
    assert [trial.state for trial in place.book.trials.values()] == [TrialState.SUSPENDED] * 2
    assert place.statuses() == ["KILLED"] * 3

    assert document(place.search("--trials", "3"))["trials"]["completed"] == 3
    assert_whole(place, trials=3)


@pytest.mark.slow
def test_a_second_ctrl_c_ends_at_once_and_no_trial_is_given_up(tmp_path: Path):
    place = Place(tmp_path)
    driver = place.begin("--set", "segment_steps=100000", "--steps", "100000")  # a segment takes minutes
    try:
        wait_for(lambda: any(trial.attempts for trial in read_trials(place)), driver)
        started = descendants(driver.pid)
        driver.send_signal(signal.SIGINT)
        wait_for(lambda: "stopping" in place.talk(), driver)
        driver.send_signal(signal.SIGINT)
        assert driver.wait(60) == 130
        assert place.segments() == 0
    finally:
        end(driver)
    assert "Traceback" not in place.talk()
    wait_for(lambda: not running(started))
    assert not any(trial.state.final for trial in place.book.trials.values())


@pytest.mark.long
@pytest.mark.slow
def test_a_study_goes_on_without_its_mlflow_and_ctrl_c_twice_ends_the_wait_for_it(tmp_path: Path):
    place = Place(tmp_path)
    document(place.search("--trials", "1"))
    driver = place.begin("--trials", "2", "--tracking-uri", f"http://127.0.0.1:{free_port()}")
    try:
        wait_for(lambda: place.book.finished == 2, driver)
        driver.send_signal(signal.SIGINT)
        wait_for(lambda: "stopping" in place.talk(), driver)
        driver.send_signal(signal.SIGINT)
        assert driver.wait(60) == 130  # by itself it gives MLflow 120 s
    finally:
        end(driver)
    assert "the search goes on, and shows there what is missing once it answers" in place.talk()
    assert "Traceback" not in place.talk()
    assert document(place.search("--trials", "2"))["unsynced"] == 0
    assert_whole(place, trials=2)


def read_trials(place: Place) -> list[Any]:
    return list(place.book.trials.values()) if (place.folder / "store" / "studies").is_dir() else []


@pytest.mark.slow
@pytest.mark.long
def test_an_allowed_difference_goes_on_and_is_noted(tmp_path: Path):
    place = Place(tmp_path)
    document(place.search())
    assert "seed: 5 in the study, 9 now" in refusal(place.search("--seed", "9", "--trials", "2"), 5)
    told = document(place.search("--seed", "9", "--trials", "2", "--allow-drift"))
    assert told["trials"]["completed"] == 2
    notes = [r.allowed for r in read_records(place.store, "ring") if r.kind == "budget"]
    assert notes == [("seed: 5 in the study, 9 now",)]
    assert_whole(place, trials=2)


@pytest.mark.long
@pytest.mark.slow
def test_time_that_is_up_suspends_and_the_same_command_goes_on(tmp_path: Path):
    place = Place(tmp_path)
    told = document(place.search("--trials", "200", "--max-hours", str(15 / 3600)))
    assert told["trials"]["completed"] < 200
    assert {trial.state for trial in place.book.trials.values()} <= {TrialState.COMPLETED, TrialState.SUSPENDED}
    done = max(told["trials"]["completed"], 1) + 1
    document(place.search("--trials", str(done)))
    assert_whole(place, trials=len(place.book.trials))
