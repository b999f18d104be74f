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
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from uuid import uuid4

import mlflow
import psutil

from benchmarks.faults import about_here
from benchmarks.soak_checks import (
    may_give_up,
    trials_hit,
    work_of,
    wrong_in_blobs,
    wrong_in_faults,
    wrong_in_journal,
    wrong_in_runs,
)
from pipeline import compaction
from pipeline.ledger import read_book, read_records
from pipeline.projection import TRIAL_KEY
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
SEED = 0  # of the kills
LONGEST = 4 * 3600.0  # seconds for everything
AGENTS = 180.0  # seconds for Ray's agents to notice that they are alone
TARGET = Path(__file__).with_suffix(".md")


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
            RuntimeError: the search ended with an error that was not injected, gave up too often, or did not end.
        """
        (self.folder / "soak.yaml").write_text(SEARCH)
        (self.folder / "r").mkdir()
        began, driver = time.monotonic(), self.begin()
        due = {"worker": began + self.rng.uniform(*worker_every), "driver": began + self.rng.uniform(*driver_every)}
        try:
            while (code := driver.poll()) != 0:
                now, talk = time.monotonic(), (self.folder / "stderr.txt").read_text()
                if may_give_up(code, talk, self.given_up):
                    self.given_up, driver = self.given_up + 1, self.begin()
                elif code is not None or now > began + LONGEST:
                    raise RuntimeError(f"exit code {code}, {self.given_up} drivers gave up before:\n{talk}")
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
        lines = wrong_in_faults(self.kills, book)
        lines += wrong_in_journal(read_records(self.store, STUDY), self.trials) + wrong_in_runs(self._runs(), book)
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
        "trials that were hit": trials_hit(book),
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
    folder = Path(tempfile.mkdtemp())
    print(f"searching in {folder}, which stays if anything is wrong", file=sys.stderr)
    soak = Soak(folder, chosen.trials, random.Random(SEED))
    seconds = soak.run(chosen.minutes, chosen.worker_every, chosen.driver_every)
    every = f"of a worker every {between(chosen.worker_every)}, of the driver every {between(chosen.driver_every)}"
    wrong = soak.wrong()
    text = page(figures(soak, seconds, every), wrong, about_here())
    chosen.out.write_text(text)
    print(text)
    if wrong:
        sys.exit(f"what is wrong lies in {folder}")
    shutil.rmtree(folder)


def between(bounds: list[float]) -> str:
    """Return two bounds of a time as text."""
    return f"{bounds[0]:g} to {bounds[1]:g} s"


if __name__ == "__main__":
    main()
