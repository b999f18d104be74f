"""Virtual time, in which all workers are equally fast: whose segment counts next, and when a new trial begins.

A study has as many places as workers. A trial takes a place at the virtual time at which it became free, and frees it
after the steps that it trained; one that failed, after those of the segment in which it did. Both are functions of the
journal alone, so that a driver that takes over goes on in the same order.
"""

from __future__ import annotations

from collections import Counter

from pipeline.book import Book, Trial
from pipeline.records import TrialState


def due(book: Book) -> int | None:
    """Return the trial whose next segment ends first, of two the lower number; None where no trial runs."""
    return min(((next_end(trial), trial.number) for trial in book.unfinished), default=(0, None))[1]


def place(book: Book, places: int) -> int:
    """Return the virtual time, in steps, at which the next trial begins: that of the place that is free for longest.

    Args:
        book: of the study, with fewer trials that are not final than places.
        places: as many as workers.
    """
    free = Counter({0: places})
    for trial in book.trials.values():
        free[trial.begins] -= 1
        if trial.state.final:
            free[next_end(trial) if trial.state is TrialState.FAILED else trial.begins + trial.steps] += 1
    return min(time for time, count in free.items() if count > 0)


def next_end(trial: Trial) -> int:
    """Return the virtual time, in steps, at which a trial's next segment ends."""
    config = trial.spec.config
    return trial.begins + min((trial.steps // config.segment_steps + 1) * config.segment_steps, config.steps)
