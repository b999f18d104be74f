"""The example that `make search` runs, whole: it finds a generator of clear digits."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.digits import figures
from pipeline.place import Place, open_study
from pipeline.records import TrialState
from tests.command_line import ROOT, begin, end, environment

EXAMPLE = Path(__file__).parents[2] / "examples" / "digits.yaml"


@pytest.mark.slow
@pytest.mark.long
def test_the_digits_search_finds_clear_digits_of_every_class(tmp_path):
    search = begin("search", EXAMPLE, "--store", tmp_path / "store", "--format", "json", cwd=tmp_path)
    try:
        assert search.wait(1100) == 0, (tmp_path / "stderr.txt").read_text()
    finally:
        end(search)
    document = json.loads((tmp_path / "stdout.txt").read_text())
    found = figures(str(tmp_path / "store"))
    print(document, found)
    assert sum(document["trials"][state] for state in ("completed", "pruned", "diverged")) == found["finished"] >= 20
    assert found["steps of the best"] >= 6000
    assert found["ratio"] <= 4
    assert found["confidence"] >= 0.8
    assert found["smallest class share"] >= 0.02

    trials = open_study(Place(store=str(tmp_path / "store"))).book.trials.values()
    assert {attempt.worker for trial in trials for attempt in trial.attempts} == {"worker-0", "worker-1"}
    assert all(trial.event is not None for trial in trials if trial.state is TrialState.DIVERGED)


def test_the_figures_of_what_is_not_there_are_one_line(tmp_path):
    for study in ("digits", "mine"):
        (tmp_path / "store" / "studies" / study).mkdir(parents=True)
    for options, word in (([], "nowhere"), (["--study", "other"], "store")):
        done = subprocess.run(
            [sys.executable, "-m", "benchmarks.digits", str(tmp_path / word), *options],
            cwd=ROOT, env=environment(tmp_path), capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode in (2, 4)
        assert done.stderr.startswith("error: ")
        assert done.stderr.count("\n") == 1
        assert done.stdout == ""
