"""A search that is killed for many minutes and must end whole: `make soak`, or `python -m benchmarks.soak`.

Now a worker is killed and now the driver, after which the same command is given again, until it is done. Then
everything is looked through: the journal, MLflow, the processes and the files. The figures go to benchmarks/soak.md;
whatever is not as it should be is told, and the exit code is 1.
"""

from __future__ import annotations

import argparse
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from uuid import uuid4

import mlflow
import psutil

from benchmarks.faults import about_here
from pipeline import compaction, policies
from pipeline.book import Book
from pipeline.ledger import read_book, read_records
from pipeline.projection import TRIAL_KEY
from pipeline.records import DecisionRecord, Record, SegmentRecord, TrialRecord
from pipeline.store import DiskStore
from tests.command_line import alive, begin, end
from tests.ray_processes import workers

STUDY = "soak"
SEARCH = f"""
study: {STUDY}
data: ring8
space: gan
workers: 2
seed: 3
network: {{name: mlp, width: 32, depth: 2}}
latent: {{size: 2}}
batch_size: 64
steps: 1500
segment_steps: 100
evaluation: {{samples: 200, grid: 16}}
halving: {{first_rung: 500, eta: 2}}
retries: {{worker_lost: 1000, node_lost: 1000}}
"""
SEED, GAVE_UP = 0, 4  # of the kills; the exit code of a driver that lacks something before it trains
LONGEST, AGENTS = 4 * 3600.0, 180.0  # seconds for everything, and for Ray's agents to notice that they are alone
TARGET = Path(__file__).with_suffix(".md")


# -- what must be true in the end: pure, each returns what is wrong, a line each ---------------------------------------


def wrong_in_journal(records: Iterable[Record], budget: int) -> list[str]:
    """Tell which trials have not exactly one final state, or not each of their segments once, and a missed budget."""
    final, ends, begun = Counter[int](), dict[int, int](), set[int]()
    lines, finished = [], 0
    for record in records:
        if isinstance(record, TrialRecord):
            begun.add(record.spec.number)
        elif isinstance(record, DecisionRecord) and record.state.final:
            final[record.trial] += 1
            finished += record.state.counts
        elif isinstance(record, SegmentRecord):
            if record.result.start != ends.get(record.trial, 0):
                lines.append(f"trial {record.trial}: a segment begins at {record.result.start}, not where one ended")
            ends[record.trial] = record.result.stop
    lines += [f"trial {number} has {final[number]} final states" for number in sorted(begun) if final[number] != 1]
    return lines + ([] if finished == budget else [f"{finished} trials are finished, but the budget was {budget}"])


def wrong_in_runs(runs: Mapping[str, list[str]], book: Book) -> list[str]:
    """Tell which trials have not exactly one run, and which runs have not ended; `runs`: statuses by trial key."""
    keys = {trial.spec.key for trial in book.trials.values()} | {""}  # the study's own
    lines = [f"{len(runs.get(key, []))} runs show {key or 'the study'}" for key in keys if len(runs.get(key, [])) != 1]
    lines += [f"runs show {key}, which is no trial" for key in runs.keys() - keys]
    return sorted(lines + [f"the run of {key or 'the study'} is RUNNING" for key in runs if "RUNNING" in runs[key]])


def wrong_in_blobs(found: Collection[str], book: Book, compacted: Collection[str]) -> list[str]:
    """Tell which blobs nothing needs, and which are needed but not there; `compacted`: those of the journal."""
    kept = policies.kept(book)
    needed = {book.study.extractor if book.study else None, *compacted}
    for trial in book.trials.values():
        needed |= {blob for s in trial.segments for blob in (s.result.history, s.result.samples)}
        if trial.best is not None and trial.number in kept:
            needed.add(trial.best.result.generator)
    needed.discard(None)
    lines = sorted(f"nothing needs blob {blob}" for blob in set(found) - needed)
    return lines + sorted(f"blob {blob} is missing" for blob in needed - set(found))


@dataclass(frozen=True)
class Work:
    """Steps that count, and steps that were trained again, at most."""

    useful: int
    gone_back: int  # committed, but behind the checkpoint from which an attempt went on
    in_flight: int  # under way when their attempt ended

    @property
    def share(self) -> float:
        """The useful part of all steps trained, at least."""
        return self.useful / max(1, self.useful + self.gone_back + self.in_flight)


def work_of(book: Book) -> Work:
    """Count the steps of a study from its journal.

    The journal does not tell how far an attempt was when it ended, so each one that another replaced counts as a whole
    segment; what it had committed, but the next attempt did not begin with, is known exactly.
    """
    back = flight = 0
    for trial in book.trials.values():
        segment_steps = trial.spec.config.segment_steps
        for attempt in trial.attempts[1:]:
            reached = [s.result.stop for s in trial.segments if s.attempt < attempt.attempt]
            back += max(reached, default=0) - attempt.step
            flight += segment_steps
    return Work(sum(trial.steps for trial in book.trials.values()), back, flight)


# -- the soak ----------------------------------------------------------------------------------------------------------


@dataclass
class Soak:
    """A search in a folder of its own, and what was done to it."""

    folder: Path
    trials: int
    rng: random.Random
    mark: str = field(default_factory=lambda: uuid4().hex)
    kills: Counter[str] = field(default_factory=Counter)
    given_up: int = 0  # times that the driver ended by itself, and said to give the same command again

    @property
    def store(self) -> DiskStore:
        """The search's."""
        return DiskStore(self.folder / "store")

    def begin(self) -> subprocess.Popen[str]:
        """Give the command, which is the same each time."""
        options = ("--trials", str(self.trials), "--store", "store", "--format", "json")
        ray = str(self.folder / "r")
        return begin("search", "soak.yaml", *options, cwd=self.folder, RAY_TMPDIR=ray, SOAK_MARK=self.mark)

    def run(self, minutes: float, worker_every: list[float], driver_every: list[float]) -> float:
        """Run the search to its end, and kill until `minutes` are over; return the seconds that it took.

        Raises:
            RuntimeError: the search ended with an error that was not injected, or did not end.
        """
        (self.folder / "soak.yaml").write_text(SEARCH)
        (self.folder / "r").mkdir()
        began, driver = time.monotonic(), self.begin()
        due = {"worker": began + self.rng.uniform(*worker_every), "driver": began + self.rng.uniform(*driver_every)}
        try:
            while (code := driver.poll()) != 0:
                now = time.monotonic()
                if code == GAVE_UP:  # a worker died before this driver's first trial
                    self.given_up, driver = self.given_up + 1, self.begin()
                elif code is not None or now > began + LONGEST:
                    raise RuntimeError(f"exit code {code}:\n{(self.folder / 'stderr.txt').read_text()}")
                killing = now < began + 60 * minutes
                if killing and now > due["worker"] and self._kill_worker(driver):
                    due["worker"] = now + self.rng.uniform(*worker_every)
                if killing and now > due["driver"]:
                    driver = self._kill_driver(driver)
                    due["driver"] = now + self.rng.uniform(*driver_every)
                time.sleep(0.2)
        finally:
            end(driver)
        return time.monotonic() - began

    def _kill_worker(self, driver: subprocess.Popen[str]) -> bool:
        """Kill a worker of ours, and tell whether there was one."""
        try:
            found = workers(driver.pid)
            if found:
                self.rng.choice(found).kill()
        except psutil.NoSuchProcess:  # it, or the driver, ended meanwhile
            return False
        self.kills["worker"] += bool(found)
        return bool(found)

    def _kill_driver(self, driver: subprocess.Popen[str]) -> subprocess.Popen[str]:
        driver.kill()
        driver.wait()
        self.kills["driver"] += 1
        return self.begin()

    def wrong(self) -> list[str]:
        """Tell all that is not as it should be, a line each."""
        book, compacted = read_book(self.store, STUDY), compaction.blobs(self.store, STUDY)
        lines = wrong_in_journal(read_records(self.store, STUDY), self.trials) + wrong_in_runs(self._runs(), book)
        blobs = [path.name for path in (self.store.path / "blobs").glob("*/*") if "~" not in path.name]
        return lines + wrong_in_blobs(blobs, book, compacted) + self._wrong_in_files() + self._left_processes()

    def _runs(self) -> dict[str, list[str]]:
        """Return the statuses of the runs in MLflow by the key of their trial; that of the study's is empty."""
        client = mlflow.MlflowClient(tracking_uri=f"sqlite:///{self.folder}/store/mlflow.db")
        experiment, token = client.get_experiment_by_name(STUDY), None
        found = dict[str, list[str]]()
        while True:
            rows = client.search_runs([experiment.experiment_id], max_results=1000, page_token=token)
            for run in rows:
                found.setdefault(run.data.tags.get(TRIAL_KEY, ""), []).append(run.info.status)
            if not (token := rows.token):
                return found

    def _wrong_in_files(self) -> list[str]:
        root = self.store.path
        lines = [f"half written: {path.relative_to(root)}" for path in root.rglob("*~*")]
        study = {path.name for path in (root / "studies" / STUDY).iterdir()}
        lines += [f"of nobody: {name}" for name in study - {"journal", "epochs", "compacted", "best.png"}]
        lines += [f"set aside: {path.name}" for path in (root / "aside").glob("*")]
        with self.store.guard(STUDY) as free:
            return lines + ([] if free else ["somebody holds the study's lock"])

    def _left_processes(self) -> list[str]:
        """Wait until no process of ours is left; tell which are, after a long time."""
        deadline = time.monotonic() + AGENTS
        left = [process for process in psutil.process_iter() if self._is_ours(process)]
        while (left := [process for process in left if self._is_ours(process)]) and time.monotonic() < deadline:
            time.sleep(1)
        return [f"process {process.pid} ({process.name()}) is left" for process in left]

    def _is_ours(self, process: psutil.Process) -> bool:
        """Whether a process descends from a driver of ours, from which it has the mark in its environment."""
        try:
            return alive(process) and process.environ().get("SOAK_MARK") == self.mark
        except psutil.Error:  # it ended, or is another user's
            return False


# -- what is told ------------------------------------------------------------------------------------------------------


def figures(soak: Soak, seconds: float, every: str) -> dict[str, object]:
    """Return what was seen, by its name; `every` says how often something was killed."""
    book = read_book(soak.store, STUDY)
    work, trials = work_of(book), book.trials.values()
    causes = Counter(loss.cause for trial in trials for loss in trial.losses)
    took = [trial.decision.at - trial.attempts[0].at for trial in trials if trial.decision and trial.attempts]
    return {
        "trials": ", ".join(f"{count} {state}" for state, count in book.counts.items() if count),
        "kill -9": every,
        "of a worker, of the driver": f"{soak.kills['worker']}, {soak.kills['driver']}",
        "drivers that gave up, exit 4": soak.given_up,
        "losses that the journal tells": ", ".join(f"{count} {cause}" for cause, count in causes.items()) or "none",
        "trials that were hit": sum(len(trial.attempts) > 1 for trial in trials),
        "late answers": book.late,
        "wall time": f"{seconds:.0f} s",
        "a trial, median": f"{statistics.median(took):.1f} s",
        "useful steps": work.useful,
        "committed steps trained again": work.gone_back,
        "steps in flight, trained again, at most": work.in_flight,
        "useful over trained, at least": f"{work.share:.3f}",
    }


def page(rows: Mapping[str, object], wrong: list[str], about: str) -> str:
    """Return the page."""
    head = f"# A search that is killed all the time\n\nGenerated by `make soak`. {__doc__.split(chr(10) * 2)[1]}\n"
    table = ["| | |", "|---|---|", *(f"| {name} | {value} |" for name, value in rows.items())]
    verdict = "\n".join(f"* {line}" for line in wrong) or "Everything was as it should be."
    counted = " ".join((work_of.__doc__ or "").partition("\n\n")[2].split())
    return "\n".join([head, about, "", *table, "", f"How steps are counted: {counted}", "", verdict, ""])


def main() -> None:
    """Run the soak, and write and print its figures."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.soak", description="A search that is killed.")
    parser.add_argument("--trials", type=int, default=200, help="finished trials [%(default)s]")
    parser.add_argument("--minutes", type=float, default=120, help="after which nothing is killed [%(default)s]")
    parser.add_argument("--worker-every", type=float, nargs=2, default=[10, 20], help="seconds between two kills")
    parser.add_argument("--driver-every", type=float, nargs=2, default=[90, 150], help="seconds between two kills")
    parser.add_argument("--out", type=Path, default=TARGET, help="page to write [%(default)s]")
    chosen = parser.parse_args()
    soak = Soak(Path(tempfile.mkdtemp()), chosen.trials, random.Random(SEED))
    seconds = soak.run(chosen.minutes, *(between := (chosen.worker_every, chosen.driver_every)))
    wrong, bounds = soak.wrong(), [f"{soon:g} to {late:g} s" for soon, late in between]
    every = f"of a worker every {bounds[0]}, of the driver every {bounds[1]}"
    chosen.out.write_text(text := page(figures(soak, seconds, every), wrong, about_here()))
    print(text)
    if wrong:
        sys.exit(f"what is wrong lies in {soak.folder}")
    shutil.rmtree(soak.folder)


if __name__ == "__main__":
    main()
