"""Open everything that a search needs, run it, and close it in order."""

from __future__ import annotations

import logging
import time
import uuid
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import dataclass, field
from typing import Any

from pipeline import drift
from pipeline.book import Book
from pipeline.config import SearchConfig, first_params, num_enqueued, search_space, train_config, trial_seed
from pipeline.janitor import Janitor
from pipeline.ledger import Ledger
from pipeline.policies import to_name
from pipeline.ports import Executor
from pipeline.projection import Outcome
from pipeline.projector import Tracker
from pipeline.projectors import Projectors
from pipeline.records import BudgetRecord, FinishRecord, Record, StudyRecord
from pipeline.result import Result, draw_best
from pipeline.search import Search
from pipeline.store import Store, open_store
from pipeline.study import Sampler
from pipeline.trackers import open_trackers
from trainers.errors import GansearchError, StateConflict

DRAIN_SECONDS = 120.0  # how long a search that has ended waits for MLflow
OVERTIME = 1800.0  # seconds after `max_hours` in which what is under way may still end: a training may hang
_log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Driver:
    """How a search is driven, beside what it searches.

    Attributes:
        address: of a Ray cluster; None starts Ray here.
        allow_drift: go on although config, code or versions differ from the study's.
        should_stop: asked often; True suspends the search.
        abandon: asked often while it stops; True leaves segments that are under way.
        patience: asked often while MLflow is brought up to date in the end; so many seconds may still be waited.
        uninterrupted: what it returns lasts while the study is written; a KeyboardInterrupt is to wait for its end.
        watch: shown the study now and then.
        say: told one line for the user.
        clock: tells steady seconds, which `max_hours` goes by.
    """

    address: str | None = None
    allow_drift: bool = False
    should_stop: Callable[[], bool] = lambda: False
    abandon: Callable[[], bool] = lambda: False
    patience: Callable[[], float] = lambda: float("inf")
    uninterrupted: Callable[[], AbstractContextManager[None]] = nullcontext
    watch: Callable[[Book], None] = lambda _: None
    say: Callable[[str], None] = lambda _: None
    clock: Callable[[], float] = time.monotonic


OpenExecutor = Callable[[Store, SearchConfig, Driver], Executor]
OpenTrackers = Callable[..., list[Tracker]]  # as `pipeline.trackers.open_trackers`


def ray_executor(store: Store, config: SearchConfig, driver: Driver) -> Executor:
    """Start the workers as Ray actors; see `RayExecutor`."""
    from pipeline.ray_executor import RayExecutor

    several = "s" if config.workers > 1 else ""
    driver.say(f"starting {config.workers} worker{several} on {driver.address or 'this machine'}")
    return RayExecutor(
        store.uri,
        config.workers,
        config.gpus_per_worker,
        driver.address,
        modules=drift.user_modules(config),
        should_stop=driver.should_stop,
    )


def launch(
    config: SearchConfig,
    driver: Driver,
    *,
    open_executor: OpenExecutor = ray_executor,
    open_trackers: OpenTrackers = open_trackers,
) -> Result:
    """Create or resume a study and run it to its budget.

    MLflow, or Optuna's database, may be down while a study goes on, which is then shown there later. It may not where a
    study begins, so that a wrong address is told before hours of training.

    Args:
        config: of the search.
        driver: how it is driven.
        open_executor: starts the workers.
        open_trackers: see `pipeline.trackers.open_trackers`.

    Raises:
        StateConflict: another driver holds the study, or this one differs from it and `allow_drift` is off.
        Unreachable: Ray or the store is out of reach, or MLflow where the study begins, or for good; nothing has been
            trained.
        UserError: a trial failed by the user's own mistake.
    """
    began = driver.clock()
    store = open_store(config.store)
    with Ledger.open(store, config.study, say=driver.say) as ledger:
        store.sweep()
        differs = _allowed(drift.differences(ledger.book, config), config, driver)
        uid, absent = (None, None) if ledger.book.study is None else (ledger.book.study.uid, driver.say)
        check, uri = ledger.check, config.tracking_uri
        shown = open_trackers(_plain(config), store, config.study, uri, uid, absent, taken_over=check)
        projectors = Projectors(ledger.records, shown, check)
        work = _Work(config, driver, ledger, store, projectors, open_executor, differs)
        trained = _left_to_do(ledger.book, config)
        done = work.train(began) if trained else work.only_show()
        if (error := work.projectors.conflict or work.projectors.integrity) is not None:
            raise error
        return Result(
            book=ledger.book,
            finished=done,
            trained=trained,
            seconds=driver.clock() - began,
            lagging=work.lagging,
            tracking_uri=shown[0].tracking_uri,
            picture=draw_best(ledger.book, store),
        )


@dataclass
class _Work:
    """What one driver has opened, and must close in order."""

    config: SearchConfig
    driver: Driver
    ledger: Ledger
    store: Store
    projectors: Projectors
    open_executor: OpenExecutor
    differs: list[str]  # from the study as it began, and is allowed to
    done: bool = False  # whether the budget is used up
    lagging: dict[str, int] = field(default_factory=dict)  # what is not shown in the end

    def only_show(self) -> bool:
        """Bring MLflow up to date with a study that is finished, and remove what its driver did not get to remove."""
        self._note_changes(self.differs)
        if (best := to_name(self.ledger.book, self.config.trials)) is not None:
            with self.driver.uninterrupted():
                self.ledger.append(FinishRecord(at=time.time(), best=best))  # its driver died right before
        self.done = True
        self.projectors.start()
        janitor = Janitor(self.store)
        janitor.collect(self.ledger.book)
        while not self.driver.should_stop() and janitor.work():
            pass
        self._drain(DRAIN_SECONDS)
        return True

    def train(self, began: float) -> bool:
        """Run the search on workers of its own; return whether it is finished."""
        executor = self.open_executor(self.store, self.config, self.driver)
        try:
            self._search(executor, began)
        except StateConflict:
            raise  # another driver took the study over, and shows it: nothing is ended here
        except BaseException as error:
            # What a Ctrl-C leaves is for the next driver to show. The first error is the one to tell.
            with suppress(GansearchError):
                self._drain(0.0 if isinstance(error, KeyboardInterrupt) else DRAIN_SECONDS)
            raise
        self._drain(DRAIN_SECONDS)
        return self.done

    def _search(self, executor: Executor, began: float) -> None:
        try:
            self._begin(executor)
            self.projectors.start()
            with self.driver.uninterrupted():
                self.done = self._made_search(executor, began).run()
        except BaseException as error:
            if isinstance(error, StateConflict):
                self.projectors.leave()  # at once: what this driver knows is old
            try:
                self._close(executor)
            except Exception as second:  # the first error is the one to tell
                _log.warning("the workers did not end as they should: %s", second)
            raise
        self._close(executor)

    def _close(self, executor: Executor) -> None:
        with self.driver.uninterrupted():  # Ray, shut down by half, ends this process with a code of its own
            try:
                executor.close()
            finally:
                self.store.sweep()  # what a worker that was killed left half-written

    def _begin(self, executor: Executor) -> None:
        """Commit the study record, whose metric and data a worker finds out; later, see that the data are the same."""
        config, study = self.config, self.ledger.book.study
        first = train_config(config, first_params(config)[0], trial_seed(config.seed, 0))
        prepared = executor.prepare(first, None if study is None else study.extractor)
        if study is not None:
            lines = _allowed(drift.data_differences(self.ledger.book, prepared.data), config, self.driver)
            self._note_changes([*self.differs, *lines])
            return
        record = StudyRecord(
            at=time.time(),
            study=config.study,
            uid=uuid.uuid4().hex,
            config=_plain(config),
            metric=prepared.metric,
            extractor=prepared.extractor,
            data=prepared.data,
            versions=drift.versions(),
            code=drift.code_digest(config),
        )
        with self.driver.uninterrupted():
            self.ledger.append(record)

    def _note_changes(self, differs: list[str]) -> None:
        """Commit how this driver goes on with the study otherwise; only here, where nothing can refuse it any more."""
        now = _plain(self.config)
        if differs or self.ledger.book.config != now:
            with self.driver.uninterrupted():
                self.ledger.append(BudgetRecord(at=time.time(), config=now, allowed=tuple(differs)))

    def _made_search(self, executor: Executor, began: float) -> Search:
        config, driver = self.config, self.driver
        deadline = began + config.max_hours * 3600 if config.max_hours else float("inf")
        return Search(
            config=config,
            ledger=self.ledger,
            executor=executor,
            asker=Sampler(
                search_space(config),
                seed=config.seed,
                n_startup_trials=config.n_startup_trials,
                first=first_params(config),
                num_enqueued=num_enqueued(config),
            ),
            blobs=self.store,
            should_stop=lambda: driver.should_stop() or driver.clock() > deadline,
            abandon=lambda: driver.abandon() or driver.clock() > deadline + OVERTIME,
            tick=self._tick,
        )

    def _tick(self, book: Book) -> list[Record]:
        self.projectors.notify()
        self.driver.watch(book)
        return self.projectors.drain()

    def _drain(self, timeout: float) -> None:
        if self.ledger.book.study is None:
            return  # nothing began, so there is nothing to show
        with self.driver.uninterrupted():
            outcome: Outcome = "finished" if self.done else "suspended"
            self.lagging = self.projectors.close(timeout, outcome, self.driver.patience)
            for name, failure in self.projectors.failures.items():
                if name in self.lagging:
                    mend = "`gansearch sync` shows the rest"
                    self.driver.say(f"{name} was not brought up to date: {failure}; {mend}")
            if self.projectors.conflict is None and (runs := self.projectors.drain()):
                self.ledger.append(*runs)


def _plain(config: SearchConfig) -> dict[str, Any]:
    return config.model_dump(mode="json")


def _left_to_do(book: Book, config: SearchConfig) -> bool:
    waiting = any(not trial.state.final for trial in book.trials.values())
    return book.study is None or waiting or book.finished < config.trials


def _allowed(lines: list[str], config: SearchConfig, driver: Driver) -> list[str]:
    """Return what differs from the study, a line each.

    Raises:
        StateConflict: something does, and is not allowed to.
    """
    if lines and not driver.allow_drift:
        raise StateConflict(drift.refusal(config.study, lines))
    return lines
