"""What a trial costs beside its training: `python -m benchmarks.overhead`.

16 trials of 20 segments of one step each, on 2 workers, with MLflow in its SQLite file: nearly nothing is computed, so
nearly all of the time is the pipeline's own. Seconds are those from the study's first record to its last decision.
"""

from __future__ import annotations

import json
import statistics
import tempfile
from pathlib import Path

from pipeline import config
from pipeline.book import Book
from pipeline.launch import Driver, launch

TRIALS, SEGMENTS, REPETITIONS = 16, 20, 3
SETS = (
    f"steps={SEGMENTS}", "segment_steps=1", "network.width=4", "evaluation.samples=2", "halving.enabled=false",
    "stability.exploding_gradient.action=off", "stability.d_loss_zero.action=off",
)  # fmt: skip


def seconds_a_trial(folder: Path) -> float:
    """Return the seconds that a search takes for each of its trials."""
    options = {"store": str(folder), "data": "ring8", "space": "gan", "trials": TRIALS, "workers": 2}
    book: Book = launch(config.load(None, SETS, options), Driver()).book
    assert book.study is not None, "a search that ran has its study's record"
    last = max(trial.decision.at for trial in book.trials.values() if trial.decision)
    return (last - book.study.at) / TRIALS


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as place:
        each = [seconds_a_trial(Path(place) / str(repetition)) for repetition in range(REPETITIONS)]
    print(json.dumps({"seconds a trial": round(statistics.median(each), 3), "all": [round(s, 3) for s in each]}))
