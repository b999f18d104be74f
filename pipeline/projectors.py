"""Bring MLflow, and Optuna's database, up to date beside the driver's loop, each by itself; imports neither."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from pipeline.projection import Outcome
from pipeline.projector import Projector, Tracker, nobody_else
from pipeline.records import Record
from trainers.errors import IntegrityError, StateConflict

NAMES = ("MLflow", "Optuna's database")  # in the order of `pipeline.trackers.open_trackers`
LOOK = 0.2  # seconds between two looks, while closing, at how long one may still wait


class Projectors:
    """A projector for each tracker: one that is down does not hold up the other. The first one's runs are journaled."""

    def __init__(
        self, records: Sequence[Record], trackers: Sequence[Tracker], check: Callable[[], None] = nobody_else
    ) -> None:
        """See `Projector`; there is at least one tracker, and MLflow is the first."""
        self._named = dict(zip(NAMES, (Projector(records, tracker, check) for tracker in trackers), strict=False))
        self._each = tuple(self._named.values())

    @property
    def unsynced(self) -> int:
        """How many records the tracker that lags most does not show yet."""
        return max(each.unsynced for each in self._each)

    @property
    def failures(self) -> dict[str, str]:
        """Why the last attempt failed, by the name of the tracker that it was one of."""
        return {name: each.failure for name, each in self._named.items() if each.failure}

    @property
    def failure(self) -> str | None:
        """Why the last attempt of one failed, and whose it was, if one did."""
        return next((f"{name}: {failure}" for name, failure in self.failures.items()), None)

    @property
    def integrity(self) -> IntegrityError | None:
        """The first blob that was not there to show."""
        return next((each.integrity for each in self._each if each.integrity), None)

    @property
    def conflict(self) -> StateConflict | None:
        """What says that another driver took the study over, where one was seen."""
        return next((each.conflict for each in self._each if each.conflict), None)

    def start(self) -> None:
        """See `Projector.start`."""
        for each in self._each:
            each.start()

    def notify(self) -> None:
        """See `Projector.notify`."""
        for each in self._each:
            each.notify()

    def drain(self) -> list[Record]:
        """See `Projector.drain`."""
        return [run for each in self._each for run in each.drain()]

    def show_now(self, outcome: Outcome) -> int:
        """See `Projector.show_now`."""
        return max([each.show_now(outcome) for each in self._each])

    def leave(self) -> None:
        """See `Projector.leave`."""
        for each in self._each:
            each.leave()

    def close(
        self, timeout: float, outcome: Outcome | None = None, patience: Callable[[], float] = lambda: float("inf")
    ) -> dict[str, int]:
        """See `Projector.close`.

        Args:
            timeout: seconds to wait for all together.
            outcome: how the study's run ends; None leaves it as it is.
            patience: asked often meanwhile; so many seconds may still be waited.

        Returns:
            How many records are not shown, by the name of each tracker that lags behind.
        """
        deadline = time.monotonic() + timeout
        for each in self._each:
            each.ask_to_close(timeout, outcome)
        while waited_for := [each for each in self._each if not each.join(0.0)]:
            left = min(deadline - time.monotonic(), patience())
            if left <= 0:
                break
            deadline = time.monotonic() + left
            waited_for[0].join(min(left, LOOK))
        return {name: each.lag for name, each in self._named.items() if each.lag}
