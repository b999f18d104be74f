"""Two drivers at once, on a disk and in a bucket: one is refused, or takes over from one that does not move."""

from __future__ import annotations

import signal
import time
from operator import itemgetter
from pathlib import Path

import psutil
import pytest

from pipeline.ledger import read_records
from pipeline.records import Record, RunRecord
from tests.command_line import document, end, gansearch, refusal, wait_for
from tests.faults.conftest import Note
from tests.faults.held import Held
from tests.place import STEPS, Place, assert_whole

TRIALS = ("--trials", "3")
PATIENCE = 30.0  # seconds for which a lease stands still before it is taken over


@pytest.fixture(params=["disk", pytest.param("s3", marks=pytest.mark.long)])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Held:
    if request.param == "disk":
        return Held(tmp_path)
    uri = request.getfixturevalue("s3_uri")
    return Held(tmp_path, "--tracking-uri", f"sqlite:///{tmp_path}/mlflow.db", store=uri)


def test_a_second_driver_is_refused_while_the_first_lives(place: Held, note: Note):
    first = place.begin(*TRIALS)
    try:
        wait_for(lambda: place.waits(trials=2), first)
        began = time.monotonic()
        message = refusal(place.search(*TRIALS), 5)
        took = time.monotonic() - began
        assert f"in use by process {first.pid} on " in message
        place.go_on()
        assert first.wait(240) == 0
    finally:
        end(first)
    assert_whole(place, trials=3)
    note(
        f"a second driver, {kind(place)}", "exit 5 that names the first, which is not disturbed", seconds=round(took, 1)
    )


@pytest.mark.long
@pytest.mark.parametrize("at", [("told", 6), pytest.param(("flushed", 40), marks=pytest.mark.long)], ids=itemgetter(0))
def test_a_frozen_driver_is_taken_over_from_and_finds_out_when_it_thaws(
    place: Held, at: tuple[str, int], note: Note, tmp_path: Path
):
    place.go_on()
    elsewhere = tmp_path / "second"
    elsewhere.mkdir()
    first = place.begin(*TRIALS, fault={"do": "stop", "at": at[0], "after": at[1]})
    uri = place.uri if "://" in place.uri else str(place.folder / place.uri)
    second = Place(elsewhere, uri, place.options, **place.env)
    try:
        wait_for(lambda: is_stopped(first.pid), first)
        began = time.time()
        frozen = read_records(place.store, "ring")
        assert 0 < sum(trial.steps for trial in place.book.trials.values()) < 3 * STEPS
        told = document(second.search(*TRIALS))
        assert told["trials"]["completed"] == 3
        after = read_records(place.store, "ring")
        assert after[: len(frozen)] == frozen
        took = after[len(frozen)].at - began
        assert took >= PATIENCE, "it did not wait for a sign of life"
        first.send_signal(signal.SIGCONT)
        assert first.wait(120) == 5
    finally:
        first.send_signal(signal.SIGCONT)
        end(first)
    assert "another driver took study 'ring' over" in place.talk()
    assert "Traceback" not in place.talk()
    assert at[0] == "told" or told["unsynced"], "nothing was locked"
    if told["unsynced"]:  # the first held a lock of MLflow's database when it froze; else all is shown by now
        after = [*after, *shown_later(place)]
    assert read_records(place.store, "ring") == after
    assert_whole(place, trials=3)
    note(
        f"driver frozen (SIGSTOP{', in a write to MLflow' * (at[0] == 'flushed')}), a second comes, the first thaws,"
        f" {kind(place)}",
        f"the second takes over after {PATIENCE:g} s and ends whole; the first changes nothing, exit 5",
        seconds_until_the_second_wrote=round(took, 1),
    )  # fmt: skip


def shown_later(place: Place) -> list[Record]:
    """Run `gansearch sync`, and return what it adds to the journal: no more than which runs there are now."""
    before = len(read_records(place.store, "ring"))
    document(gansearch("sync", "--study", "ring", "--store", place.uri, "--format", "json", cwd=place.folder))
    added = read_records(place.store, "ring")[before:]
    assert all(isinstance(record, RunRecord) for record in added)
    return added


def kind(place: Place) -> str:
    return "S3" if "://" in place.uri else "disk"


def is_stopped(pid: int) -> bool:
    return psutil.Process(pid).status() == psutil.STATUS_STOPPED
