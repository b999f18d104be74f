"""How many failing trainings one classifier tells from healthy ones by half of the budget.

A random forest learns from labels, which no detector does: of nine tenths of the trainings at a time it is shown each
score, and of each signal that all histories have its median, spread and largest size, in both quarters until half of
the budget. It is no bound of what can be told, but a second opinion: what it misses, too, is hard to see by then.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from trainers.history import SIGNALS
from trainers.watch import SHOWN

if TYPE_CHECKING:
    from benchmarks.alarms_page import Seen

TREES, FOLDS = 500, 10
FAR = 1e6  # what is not finite, and what is further than this, is there
COLUMNS = (*SIGNALS, *(name for name in SHOWN if name != "score"))


def told(seen: Sequence[Seen], histories: Path) -> list[str]:
    """Return what the forest tells, in a sentence; nothing where histories are not here."""
    if not all((histories / f"{one.outcome.seed}.arrow").exists() for one in seen):
        return []
    from sklearn.ensemble import RandomForestClassifier
    from sklearn.model_selection import StratifiedKFold, cross_val_predict

    from benchmarks.alarms import STEPS
    from benchmarks.alarms_page import stopping

    failing = np.array([one.why is not None for one in seen])
    features = np.array([list(_features(one, histories)) for one in seen])
    forest = RandomForestClassifier(TREES, random_state=0)
    folds = StratifiedKFold(FOLDS, shuffle=True, random_state=0)
    likely = cross_val_predict(forest, features, failing, cv=folds, method="predict_proba")[:, 1]
    false = len(stopping((one for one in seen if one.why is None), STEPS // 2))
    bound = np.sort(likely[~failing])[::-1][false]
    hits, of = int((likely[failing] > bound).sum()), int(failing.sum())
    sentences = (
        "A second opinion: a random forest that was shown nine tenths of these trainings with their labels, their "
        "scores and three numbers of each signal in both quarters until half of the budget, tells",
        f"{hits} of {of} failing ones of the other tenth ({hits / of:.1%}) at {false} false alarms, as many as the",
        "detectors make by then (`benchmarks/ceiling.py`).",
    )
    return [" ".join(sentences)]


def _features(one: Seen, histories: Path) -> Iterator[float]:
    """Yield scores, then three numbers a signal and quarter; 0 where there is none."""
    from benchmarks import replay
    from benchmarks.alarms import DATA, OBJECTIVES, STEPS

    outcome = one.outcome
    half = len(outcome.scores) // 2
    scores = np.array([FAR if score is None else score for score in outcome.scores[:half]]) / outcome.untrained
    yield from _bounded(scores)
    yield from (scores[half // 2 :].min(), scores.min(), scores[-1] / max(scores[half // 2 - 1], 1 / FAR))
    history = replay.read(histories / f"{outcome.seed}.arrow").slice(0, STEPS // 2)
    for name in COLUMNS:
        for quarter in range(2):
            there = name in history.column_names
            column: Any = history[name].slice(quarter * STEPS // 4, STEPS // 4).drop_null() if there else ()
            values = _bounded(np.array(column, dtype=np.float64))
            yield from (np.median(values), values.std(), np.abs(values).max()) if len(values) else (0.0, 0.0, 0.0)
    yield list(OBJECTIVES).index(outcome.objective)
    yield list(DATA).index(outcome.data)


def _bounded(values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    return np.clip(np.nan_to_num(values, nan=FAR, posinf=FAR, neginf=-FAR), -FAR, FAR)
