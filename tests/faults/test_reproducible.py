"""A search that is killed again and again ends with the same trials, states and bits as one that was left alone."""

from __future__ import annotations

import random
import signal
import subprocess
import time
from collections import Counter
from pathlib import Path

import psutil
import pytest
from safetensors.numpy import load

from pipeline.policies import kept
from pipeline.records import TrialState
from tests.command_line import end, wait_for
from tests.faults import variants
from tests.faults.conftest import Note
from tests.faults.held import variant
from tests.place import Place, outcome
from tests.ray_processes import named, workers

SEED = 20_260
KILLS = {"worker": 14, "driver": 4, "node": 2}
STARTUP, STEPS = 3, 1600
APART = 4  # segments that are committed between two kills: the last one comes after about 120 of some 190
SEARCH = f"""
study: ring
data: ring8
space: gan
trials: 12
workers: 2
seed: 11
schedule: reproducible
n_startup_trials: {STARTUP}
network: {{name: mlp, width: 32, depth: 2}}
latent: {{size: 2}}
batch_size: 64
steps: {STEPS}
segment_steps: 50
evaluation: {{samples: 200, grid: 16}}
halving: {{first_rung: 400, eta: 2}}
retries: {{worker_lost: 1000, node_lost: 1000}}
"""
OUT_OF_REACH = 4  # the exit code of a driver whose Ray is gone


def new_place(folder: Path) -> Place:
    """A search each of whose segments needs a ticket to end, until the gate is open."""
    folder.mkdir()
    place = Place(folder, options=variant("PACED"), FAULT_FOLDER=str(folder))
    (folder / "ring.yaml").write_text(SEARCH)
    return place


def plan(rng: random.Random) -> list[str]:
    """Every kill, in an order that the seed decides."""
    kills = [victim for victim, times in KILLS.items() for _ in range(times)]
    rng.shuffle(kills)
    return kills


class Hunt:
    """Kills what a search consists of, and gives the same command again whenever its driver has ended.

    The search goes on by a few segments between two kills, and so does not end before the last, however fast it is.
    """

    def __init__(self, place: Place, rng: random.Random) -> None:
        self.place, self.rng = place, rng
        self.killed: Counter[str] = Counter()
        self.given = 0  # tickets
        self.driver: subprocess.Popen[str] = place.begin()

    def strike(self, what: str) -> None:
        """Wait until some more segments are committed, let both workers go on, and kill within the time of one."""
        wanted = self.place.segments() + APART
        wait_for(lambda: self.committed() >= wanted, self.driver)
        seconds = self.rng.random() * self.seconds_a_segment()
        self.give(2)
        time.sleep(seconds)
        if what == "driver":
            self.driver.kill()
            assert self.driver.wait(60) == -signal.SIGKILL
        else:
            self.rng.choice(wait_for(lambda: self.victims(what), self.driver)).kill()
        if what == "node":
            assert self.driver.wait(120) == OUT_OF_REACH, self.place.talk()
        self.killed[what] += 1
        if what != "worker":
            self.driver = self.place.begin()

    def victims(self, what: str) -> list[psutil.Process]:
        """Return the processes of that sort that live now; a worker that a kill has ended is replaced soon."""
        return workers(self.driver.pid) if what == "worker" else named(self.driver.pid, "raylet")

    def committed(self) -> int:
        """Return how many segments are, and let another one end where none may."""
        if not variants.tickets(self.place.folder):
            self.give(1)
        time.sleep(0.2)  # reading the journal costs the search a part of its CPUs
        return self.place.segments()

    def give(self, tickets: int) -> None:
        for _ in range(tickets):
            variants.ticket(self.place.folder, self.given).touch()
            self.given += 1

    def seconds_a_segment(self) -> float:
        """Return what the quickest took: others had to wait for a ticket."""
        return min(s.result.seconds for trial in self.place.book.trials.values() for s in trial.segments)


def weights(place: Place) -> dict[int, dict[str, bytes]]:
    """The bytes of every tensor of the generators that stay, by trial."""
    book = place.book
    chosen = {number: book.trials[number].best for number in sorted(kept(book))}
    blobs = {number: best.result.generator for number, best in chosen.items() if best is not None}
    tensors = {number: load(place.store.get(blob)) for number, blob in blobs.items() if blob is not None}
    return {number: {name: array.tobytes() for name, array in loaded.items()} for number, loaded in tensors.items()}


def leave_alone(place: Place) -> None:
    """Run the same search, to which nothing happens."""
    variants.gate(place.folder).touch()
    driver = place.begin()
    try:
        assert driver.wait(900) == 0, place.talk()
    finally:
        end(driver)


@pytest.mark.long
@pytest.mark.timeout(2400)
def test_a_search_that_is_killed_at_random_times_is_the_one_that_was_left_alone(tmp_path: Path, note: Note) -> None:
    rng = random.Random(SEED)
    hunt = Hunt(new_place(tmp_path / "killed"), rng)
    began = time.monotonic()
    try:
        for what in plan(rng):
            hunt.strike(what)
        left = hunt.place.book
        variants.gate(hunt.place.folder).touch()
        assert hunt.driver.wait(900) == 0, hunt.place.talk()
    finally:
        end(hunt.driver)
    took = time.monotonic() - began
    other = new_place(tmp_path / "alone")
    leave_alone(other)
    killed, alone = hunt.place.book, other.book
    assert sum(trial.state.final for trial in left.trials.values()) < len(alone.trials)
    assert outcome(killed) == outcome(alone)
    assert weights(hunt.place) == weights(other)
    assert len(weights(other)) >= 2
    assert hunt.killed == KILLS
    hit = sum(len(trial.attempts) > 1 for trial in killed.trials.values())
    assert hit >= 3, "hardly a trial was hit"
    losses = Counter(loss.cause for trial in killed.trials.values() for loss in trial.losses)
    assert losses["worker_lost"] >= KILLS["worker"] // 2, losses  # one that had no call to answer is replaced unseen
    assert all(len(trial.attempts) == 1 for trial in alone.trials.values())
    states = Counter(trial.state for trial in alone.trials.values())
    assert states.keys() >= {TrialState.COMPLETED, TrialState.PRUNED}, states
    sampled = [t for t in alone.trials.values() if t.spec.origin == "sampled" and t.number >= STARTUP + 2]
    assert len(sampled) > STARTUP, "hardly a suggestion depended on an earlier trial"
    note(
        f"kill -9 at random times: {KILLS}",
        "the same trials, parameters, states, scores, begins and bits as the same search left alone",
        trials_hit=hit, seconds=round(took), states=dict(states),
    )  # fmt: skip
