"""What the digits search found: `python -m benchmarks.digits [STORE] [--study NAME]` after `make search`.

Draws 2,000 samples of the best trial's generator and scores them on the held-out part, beside what the training part
scores there (the floor), so that the Frechet distance has something to be compared with.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import Counter
from typing import Any

from pipeline.book import Book
from pipeline.place import DEFAULT_STORE, Place, open_study
from pipeline.projection import trial_generator
from trainers import data, evaluation
from trainers.errors import GansearchError, NotGoodEnough
from trainers.generate import load_generator, sample

SAMPLES = 2000
FRESH_SEED = 12345  # not one that the search has drawn with


def figures(store: str, name: str = "digits") -> dict[str, Any]:
    """Return the figures of a study of images, and of its best trial.

    Args:
        store: directory of the studies.
        name: of the study.

    Raises:
        Unreachable: the store is not there.
        ConfigError: the study is not in it.
        NotGoodEnough: no trial is completed.
    """
    study = open_study(Place(store=store, study=name))
    book, best = study.book, study.book.best
    if best is None or book.study is None:
        raise NotGoodEnough("no trial is completed")
    config = best.spec.config
    dataset = data.load(config.data)
    extractor = None if book.study.extractor is None else study.store.get(book.study.extractor)
    digest, shape = trial_generator(book, best)
    drawn = sample(load_generator(config, shape, study.store.get(digest)), config, SAMPLES, FRESH_SEED)
    scores = evaluation.make_evaluator(config, dataset, extractor).scores(drawn)
    floor = evaluation.baseline(config, dataset, extractor)
    distance = scores[book.study.metric]
    return {
        "study": study.name,
        "finished": book.finished,
        "counts": book.counts,
        "by space": dict(Counter(str(trial.spec.params.get("space", "-")) for trial in book.trials.values())),
        "steps": sum(trial.steps for trial in book.trials.values()),
        "seconds": round(_seconds(book), 1),
        "best": best.number,
        "steps of the best": best.steps,
        "score in the search": best.score,
        book.study.metric: distance,
        "training part against held-out part": floor,
        "ratio": distance / floor,
        "confidence": scores.get("confidence"),  # of images with labels alone
        "smallest class share": scores.get("class_min_share"),
    }


def _seconds(book: Book) -> float:
    """Return the seconds from the study's first record to its last decision."""
    began = book.study.at if book.study else 0.0
    return max((trial.decision.at for trial in book.trials.values() if trial.decision), default=began) - began


def main() -> None:
    """Print the figures as JSON; what a user did wrong is one line, and the exit code says its kind."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.digits", description="What the digits search found.")
    parser.add_argument("store", nargs="?", default=DEFAULT_STORE, help="directory of the studies [%(default)s]")
    parser.add_argument("--study", default="digits", help="name of the study [%(default)s]")
    chosen = parser.parse_args()
    try:
        print(json.dumps(figures(chosen.store, chosen.study), indent=2))
    except GansearchError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(error.exit_code)


if __name__ == "__main__":
    main()
