"""How many failing trainings could be told from healthy ones by half of the budget at all.

A random forest sees what no detector does: every score and every signal of all the trainings until half of the budget,
with their labels, of nine tenths at a time. How many of the other tenth's failing ones it tells, at as many false
alarms as the detectors make, says how much better detectors could be, and how much is not there to be seen yet.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from benchmarks.alarms_page import Seen

TREES, FOLDS = 500, 10
FAR = 1e6  # what is not finite, and what is further than this, is there
SIGNALS = (
    "energy", "dropped", "d_loss", "g_loss", "logit_real", "logit_fake", "accuracy_d", "grad_norm_d", "grad_norm_g",
    "diversity", "update_ratio_d", "update_ratio_g", "gap_train", "gap_held_out", "interpolate_norm", "clip_share",
)  # fmt: skip


def told(seen: Sequence[Seen], store: Path) -> list[str]:
    """Return what the forest tells, in a sentence."""
    from sklearn.ensemble import RandomForestClassifier
    from sklearn.model_selection import StratifiedKFold, cross_val_predict

    from benchmarks.alarms import STEPS
    from benchmarks.alarms_page import stopping

    failing = np.array([one.why is not None for one in seen])
    features = np.array([list(_features(one, store)) for one in seen])
    forest = RandomForestClassifier(TREES, random_state=0)
    folds = StratifiedKFold(FOLDS, shuffle=True, random_state=0)
    likely = cross_val_predict(forest, features, failing, cv=folds, method="predict_proba")[:, 1]
    false = len(stopping((one for one in seen if one.why is None), STEPS))
    bound = np.sort(likely[~failing])[::-1][false]
    hits, of = int((likely[failing] > bound).sum()), int(failing.sum())
    sentences = (
        "What could be seen: a random forest that was shown nine tenths of these trainings with their labels, and of "
        "each every score and signal until half of the budget, tells",
        f"{hits} of {of} failing ones of the other tenth ({hits / of:.1%}) at {false} false alarms, the detectors'",
        "number (`benchmarks/ceiling.py`).",
    )
    return [" ".join(sentences)]


def _features(one: Seen, store: Path) -> Iterator[float]:
    """Yield scores, then three numbers a signal over the second quarter of the budget; 0 where there is none."""
    from benchmarks import replay
    from benchmarks.alarms import DATA, OBJECTIVES, STEPS

    outcome = one.outcome
    half = len(outcome.scores) // 2
    scores = np.array([FAR if score is None else score for score in outcome.scores[:half]]) / outcome.untrained
    yield from _bounded(scores)
    yield from (scores[half // 2 :].min(), scores.min(), scores[-1] / max(scores[half // 2 - 1], 1 / FAR))
    history = replay.read(store / "histories" / f"{outcome.seed}.arrow").slice(0, STEPS // 2)
    for name in SIGNALS:
        column: Any = history[name].slice(STEPS // 4).drop_null() if name in history.column_names else ()
        values = _bounded(np.array(column, dtype=np.float64))
        yield from (np.median(values), values.std(), np.abs(values).max()) if len(values) else (0.0, 0.0, 0.0)
    yield list(OBJECTIVES).index(outcome.objective)
    yield list(DATA).index(outcome.data)


def _bounded(values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    return np.clip(np.nan_to_num(values, nan=FAR, posinf=FAR, neginf=-FAR), -FAR, FAR)
