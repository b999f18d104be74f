"""Open everything that a search needs, run it, and close it in order."""

from __future__ import annotations

import io
import os
import re
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from queue import Empty
from typing import TYPE_CHECKING, Any

import numpy as np

from pipeline import drift
from pipeline.book import Book
from pipeline.config import SearchConfig, first_params, num_enqueued, search_space, train_config, trial_seed
from pipeline.keys import redact
from pipeline.ledger import Ledger
from pipeline.ports import Executor
from pipeline.projector import Projector
from pipeline.records import SCHEMA, BudgetRecord, Record, StudyRecord
from pipeline.search import Search
from pipeline.store import DiskStore, Store, open_store
from pipeline.study import Sampler
from trainers.errors import StateConflict

if TYPE_CHECKING:
    from pipeline.ray_executor import RayExecutor

DRAIN_SECONDS = 120.0  # how long a search that has ended waits for MLflow


@dataclass(frozen=True, kw_only=True)
class Driver:
    """How a search is driven, beside what it searches.

    Attributes:
        address: of a Ray cluster; None starts Ray here.
        allow_drift: go on although config, code or versions differ from the study's.
        should_stop: asked often; True suspends the search.
        watch: shown the study now and then.
        say: told one line for the user.
    """

    address: str | None = None
    allow_drift: bool = False
    should_stop: Callable[[], bool] = lambda: False
    watch: Callable[[Book], None] = lambda _: None
    say: Callable[[str], None] = lambda _: None


@dataclass(frozen=True, kw_only=True)
class Result:
    """How a search ended.

    Attributes:
        book: the study.
        finished: whether the budget is used up.
        trained: whether this driver trained anything.
        seconds: that it took.
        unsynced: records that MLflow does not show yet.
        tracking_uri: where the runs are.
        picture: the best trial's samples.
    """

    book: Book
    finished: bool
    trained: bool
    seconds: float
    unsynced: int
    tracking_uri: str
    picture: Path | None

    def document(self) -> dict[str, Any]:
        """Return what `gansearch search --format json` prints."""
        book, best = self.book, self.book.best
        return {
            "schema": SCHEMA,
            "study": book.study.study if book.study else "",
            "trials": book.counts,
            "best": None
            if best is None
            else {
                "trial": best.number,
                "run_id": best.run_id,
                "score": best.score,
                "metric": book.study.metric if book.study else "",
                "params": best.spec.params,
            },
            "steps": sum(trial.steps for trial in book.trials.values()),
            "seconds": round(self.seconds, 3),
            "unsynced": self.unsynced,
            "tracking_uri": redact(self.tracking_uri),
        }


def launch(config: SearchConfig, driver: Driver) -> Result:
    """Create or resume a study and run it to its budget.

    Raises:
        StateConflict: another driver holds the study, or this one differs from it and `allow_drift` is off.
        Unreachable: Ray, MLflow or the store is out of reach; nothing has been trained.
        UserError: a trial failed by the user's own mistake.
    """
    began = time.monotonic()
    deadline = began + config.max_hours * 3600 if config.max_hours else float("inf")
    store = open_store(config.store)
    with Ledger.open(store, config.study) as ledger:
        _refuse_drift(ledger, config, driver)
        from pipeline.mlflow_store import Tracker as MlflowTracker  # takes seconds, which a refusal does not need

        tracker = MlflowTracker(config.tracking_uri, store, config.study)
        tracker.check()
        projector = Projector(ledger.records, tracker)
        work = _left_to_do(ledger.book, config)
        if work:
            done, unsynced = _work(config, driver, ledger, store, projector, deadline)
        else:
            projector.start()
            done, unsynced = True, _drain(ledger, projector, True, DRAIN_SECONDS, driver.say)
        return Result(
            book=ledger.book,
            finished=done,
            trained=work,
            seconds=time.monotonic() - began,
            unsynced=unsynced,
            tracking_uri=tracker.tracking_uri,
            picture=draw_best(ledger.book, store),
        )


def _work(
    config: SearchConfig, driver: Driver, ledger: Ledger, store: Store, projector: Projector, deadline: float
) -> tuple[bool, int]:
    """Run the search on workers of its own; return whether it is finished, and what MLflow does not show yet."""
    executor, done, patience = _executor(store, config, driver), False, DRAIN_SECONDS
    try:
        _begin(ledger, executor, config)
        projector.start()
        done = _search(config, driver, ledger, executor, store, projector, deadline).run()
    except KeyboardInterrupt:
        patience = 0.0  # Ctrl-C twice: what MLflow has not been shown yet is left to the next driver
        raise
    finally:
        try:
            executor.close()
        finally:
            unsynced = _drain(ledger, projector, done, patience, driver.say)
    return done, unsynced


def _left_to_do(book: Book, config: SearchConfig) -> bool:
    waiting = any(not trial.state.final for trial in book.trials.values())
    return book.study is None or waiting or book.finished < config.trials


def _refuse_drift(ledger: Ledger, config: SearchConfig, driver: Driver) -> None:
    lines = drift.differences(ledger.book, config)
    if lines and not driver.allow_drift:
        told = "\n  ".join(lines)
        raise StateConflict(
            f"study {config.study!r} was started differently:\n  {told}\n"
            "use another --study for another search, or --allow-drift to go on all the same"
        )
    now = config.model_dump(mode="json")
    if ledger.book.study is not None and (lines or ledger.book.config != now):
        ledger.append(BudgetRecord(at=time.time(), config=now, allowed=tuple(lines)))


def _executor(store: Store, config: SearchConfig, driver: Driver) -> RayExecutor:
    from pipeline.ray_executor import RayExecutor

    driver.say(f"starting {config.workers} workers on {driver.address or 'this machine'}")
    modules = sorted(_user_modules(config.model_dump(mode="json")))
    return RayExecutor(store.uri, config.workers, config.gpus_per_worker, driver.address, modules=modules)


def _user_modules(value: Any) -> set[str]:
    """Return the top-level modules of variants that are written as module:name, which the workers must import too."""
    if isinstance(value, dict):
        return set().union(*(_user_modules(item) for pair in value.items() for item in pair))
    found = re.fullmatch(r"([A-Za-z_]\w*)(\.\w+)*:\w+", value) if isinstance(value, str) else None
    return {found[1]} if found else set()


def _begin(ledger: Ledger, executor: Executor, config: SearchConfig) -> None:
    """Commit the study record, whose metric and data a worker finds out."""
    if ledger.book.study is not None:
        return
    first = train_config(config, first_params(config)[0], trial_seed(config.seed, 0))
    prepared = executor.prepare(first)
    record = StudyRecord(
        at=time.time(),
        study=config.study,
        uid=uuid.uuid4().hex,
        config=config.model_dump(mode="json"),
        metric=prepared.metric,
        extractor=prepared.extractor,
        data=prepared.data,
        versions=drift.versions(),
        code=drift.code_digest(),
    )
    ledger.append(record)


def _search(
    config: SearchConfig,
    driver: Driver,
    ledger: Ledger,
    executor: Executor,
    store: Store,
    projector: Projector,
    deadline: float,
) -> Search:
    def tick(book: Book) -> list[Record]:
        projector.notify()
        driver.watch(book)
        return _outbox(projector)

    return Search(
        config=config,
        ledger=ledger,
        executor=executor,
        asker=Sampler(
            search_space(config),
            seed=config.seed,
            n_startup_trials=config.n_startup_trials,
            first=first_params(config),
            num_enqueued=num_enqueued(config),
        ),
        discard=store.discard,
        should_stop=lambda: driver.should_stop() or time.monotonic() > deadline,
        tick=tick,
    )


def _drain(ledger: Ledger, projector: Projector, finished: bool, patience: float, say: Callable[[str], None]) -> int:
    if ledger.book.study is None:
        return 0  # nothing began, so there is nothing to show
    unsynced = projector.close(patience, "finished" if finished else "suspended")
    if unsynced and projector.failure:
        say(f"MLflow was not brought up to date: {projector.failure}")
    if runs := _outbox(projector):
        ledger.append(*runs)
    return unsynced


def _outbox(projector: Projector) -> list[Record]:
    found: list[Record] = []
    while True:
        try:
            found.append(projector.outbox.get_nowait())
        except Empty:
            return found


def draw_best(book: Book, store: Store) -> Path | None:
    """Write the best trial's samples as a picture beside the study's journal, and return its path."""
    best = book.best.best if book.best is not None else None
    if best is None or best.result.samples is None or book.study is None or not isinstance(store, DiskStore):
        return None
    from trainers.generate import write_png

    path = Path(store.path) / "studies" / book.study.study / "best.png"
    whole = path.with_suffix(f".{os.getpid()}.png")
    write_png(np.load(io.BytesIO(store.get(best.result.samples)), allow_pickle=False), whole)
    whole.replace(path)
    return path
