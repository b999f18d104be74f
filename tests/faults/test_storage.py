"""What lies in the store is cut short, changed, runs code, or finds no room: it is named, and nothing else is lost."""

from __future__ import annotations

import pickle
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pipeline.book import Book, Trial
from tests.command_line import document, end, gansearch, refusal, wait_for
from tests.fakes.canary import RunsCode
from tests.fakes.processes import files
from tests.faults.conftest import Note
from tests.faults.held import Held
from tests.place import Place, assert_whole, lost, retrained

ONE = ("--trials", "1", "--workers", "1")
MIDDLE = 150  # steps: the only trial is stopped in the segment that ends there, its fifth


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Held:
    """A small search whose trials wait in the middle."""
    monkeypatch.setenv("FAULT_FOLDER", str(tmp_path))
    return Held(tmp_path, step=MIDDLE)


def suspended(place: Held) -> Trial:
    """Stop a search in the middle of its only trial."""
    driver = place.begin(*ONE)
    try:
        wait_for(lambda: place.waits(trials=1), driver)
        assert place.suspend(driver) == 130
    finally:
        end(driver)
    trial = place.book.trials[0]
    assert trial.steps == MIDDLE
    return trial


def blob(place: Place, digest: str) -> Path:
    return place.folder / "store" / "blobs" / digest[:2] / digest


def none_lost(before: Book, place: Place) -> int:
    """Return how many segments the journal lacks by now: none."""
    count = lost(before, place.book)
    assert count == 0
    return count


def flipped(data: bytes) -> bytes:
    at = len(data) // 2
    return data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]


@pytest.mark.parametrize(
    "how",
    ["a flipped bit", *(pytest.param(how, marks=pytest.mark.long) for how in ("truncated", "runs code", "removed"))],
)
def test_a_corrupt_checkpoint_is_set_aside_and_the_one_before_it_used(place: Held, note: Note, how: str):
    trial = suspended(place)
    [newest, step] = trial.checkpoint or ("", 0)
    canary = place.folder / "canary"
    damage: dict[str, Callable[[bytes], bytes]] = {
        "truncated": lambda data: data[:-1],
        "a flipped bit": flipped,
        "runs code": lambda _: pickle.dumps(RunsCode(canary)),
    }
    path = blob(place, newest)
    if how == "removed":
        path.unlink()
    else:
        path.write_bytes(damage[how](path.read_bytes()))
    damaged = path.read_bytes() if path.exists() else b""
    told = document(place.search(*ONE))
    assert told["trials"]["completed"] == 1
    assert_whole(place, trials=1)
    resumed = place.book.trials[0]
    [loss] = resumed.losses
    assert (loss.cause, loss.blob) == ("checkpoint", newest)
    assert newest in loss.detail
    assert resumed.attempts[-1].step == step - 30, "the checkpoint before it is a segment older"
    assert resumed.segments[: len(trial.segments)] == trial.segments
    aside = [p for p in (place.folder / "store" / "aside").rglob("*") if p.is_file()] if how != "removed" else []
    assert [p.read_bytes() for p in aside] == ([damaged] if how != "removed" else [])
    assert not canary.exists()
    assert retrained(place, 0)["identical"] is True
    note(
        f"checkpoint: {how}", "named, set aside, the one before it used; the bits are those of a training left alone",
        steps_trained_again=step - resumed.attempts[-1].step,
    )  # fmt: skip


def test_a_pickle_that_somebody_loads_would_run(tmp_path: Path):
    """The canary works."""
    pickle.loads(pickle.dumps(RunsCode(tmp_path / "canary")))
    assert (tmp_path / "canary").exists()


@pytest.mark.long
def test_another_result_of_the_same_steps_is_an_integrity_error(place: Held, note: Note):
    """Both checkpoints are gone, and the history of the first segment says something else than its training gives."""
    trial = suspended(place)
    for path in (place.folder / "store" / "blobs").rglob("*"):
        if path.is_file() and path.name in {s.result.checkpoint for s in trial.segments}:
            path.unlink()
    journal = place.folder / "store" / "studies" / "ring" / "journal"
    rewrite(journal, trial.segments[0].result.history, trial.segments[1].result.history)
    before = place.book
    message = refusal(place.search(*ONE), 6)
    assert "trial 0, trained again from its checkpoint to step 30, gave history" in message
    note(
        "journal: a segment's history exchanged, checkpoints gone",
        "exit 6 that names trial and step; the journal keeps what it says",
        segments_lost=none_lost(before, place),
    )


def rewrite(journal: Path, digest: str, other: str) -> None:
    """Exchange a digest in a sealed object, and seal it anew: only training again can tell."""
    from pipeline.journal import with_digest

    for path in journal.rglob("*.jsonl"):
        text = path.read_bytes()
        if f'"history":"{digest}"'.encode() in text:
            body = text[: text.rfind(b"\n", 0, -1) + 1]
            path.write_bytes(with_digest(body.replace(digest.encode(), other.encode(), 1)))


def written(place: Place) -> set[str]:
    """All objects that say what happened in the study; a lease says nothing of it."""
    study = place.folder / "store" / "studies" / "ring"
    return {f"{part}/{name}" for part in ("journal", "epochs") for name in files(study / part)}


@pytest.mark.long
def test_the_last_object_of_the_journal_is_truncated(place: Held, note: Note):
    suspended(place)
    before, objects = place.book, written(place)
    assert {name.partition("/")[0] for name in objects} == {"journal", "epochs"}
    store = place.folder / "store"
    last = max((store / "studies" / "ring" / "journal").rglob("*.jsonl"))
    whole = last.read_bytes()
    last.write_bytes(whole[:-9])
    name = last.relative_to(store).as_posix()
    for command in (("trials", "--store", "store"), place.command(*ONE)):
        assert name in refusal(gansearch(*command, cwd=place.folder, **place.env), 6)
    assert written(place) == objects
    assert last.read_bytes() == whole[:-9]
    last.write_bytes(whole)
    assert document(place.search(*ONE))["trials"]["completed"] == 1
    assert_whole(place, trials=1)
    note(
        "journal: the last object truncated",
        "exit 6 that names it; no object is written; whole again, it goes on",
        segments_lost=none_lost(before, place),
    )


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Path]:
    """A store on a file system of 3 MiB."""
    folder = tmp_path / "small"
    folder.mkdir()
    if shutil.which("mount") is None or mount(folder, "size=3m").returncode:
        pytest.skip("a file system can be mounted by root alone")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def mount(folder: Path, options: str) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)], capture_output=True, check=False
    )


def test_the_disk_is_full_at_a_checkpoint(small: Path, tmp_path: Path, note: Note):
    """MLflow has a disk of its own, so that it is the store's own writing that fails."""
    wide = ("--set", "network.width=96", "--set", "network.depth=3")
    options = ("--tracking-uri", f"sqlite:///{tmp_path}/mlflow.db", *wide)
    place = Place(tmp_path, str(small), options)
    driver = place.begin("--trials", "4")
    try:
        assert driver.wait(240) == 4, place.talk()
    finally:
        end(driver)
    assert re.search(rf"{re.escape(str(small))}/blobs/\S+ .*No space left on device", place.talk())
    assert "run the same command again" in place.talk()
    assert "Traceback" not in place.talk()
    before = place.book
    for trial in before.trials.values():
        assert all(place.store.get(segment.result.history) for segment in trial.segments)
        if trial.checkpoint is not None and not trial.state.final:
            assert place.store.get(trial.checkpoint[0])
    mount(small, "remount,size=64m")
    assert document(place.search("--trials", "4"))["trials"]["completed"] == 4
    parts = [path for path in small.rglob("*~*") if path.is_file()]
    assert parts == [], "half a file stayed"
    note(
        "disk full at a checkpoint", "exit 4 that names the file; what was committed is whole; it goes on",
        segments_lost=none_lost(before, place),
    )  # fmt: skip
