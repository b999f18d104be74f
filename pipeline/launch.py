"""Open everything that a search needs, run it, and close it in order."""

from __future__ import annotations

import io
import re
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline import drift
from pipeline.book import Book
from pipeline.config import SearchConfig, first_params, num_enqueued, search_space, train_config, trial_seed
from pipeline.ledger import Ledger
from pipeline.policies import to_name
from pipeline.ports import Executor
from pipeline.projection import Outcome
from pipeline.projector import Projectors
from pipeline.records import SCHEMA, BudgetRecord, FinishRecord, Record, StudyRecord
from pipeline.safe_text import redact
from pipeline.search import Search
from pipeline.store import DiskStore, Store, open_store
from pipeline.study import Sampler
from pipeline.trackers import open_trackers
from trainers.errors import StateConflict

if TYPE_CHECKING:
    from pipeline.ray_executor import RayExecutor

DRAIN_SECONDS = 120.0  # how long a search that has ended waits for MLflow
HURRY_SECONDS = 1.0  # the same after SIGTERM, which may be followed by a SIGKILL


@dataclass(frozen=True, kw_only=True)
class Driver:
    """How a search is driven, beside what it searches.

    Attributes:
        address: of a Ray cluster; None starts Ray here.
        allow_drift: go on although config, code or versions differ from the study's.
        should_stop: asked often; True suspends the search.
        abandon: asked often while it stops; True leaves segments that are under way.
        watch: shown the study now and then.
        say: told one line for the user.
    """

    address: str | None = None
    allow_drift: bool = False
    should_stop: Callable[[], bool] = lambda: False
    abandon: Callable[[], bool] = lambda: False
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
    store = open_store(config.store)
    with Ledger.open(store, config.study, say=driver.say) as ledger:
        store.sweep()
        _refuse_drift(ledger, config, driver.allow_drift)
        shown = open_trackers(config.model_dump(mode="json"), store, config.study, config.tracking_uri)
        work = _Work(config, driver, ledger, store, Projectors(ledger.records, shown))
        trained = _left_to_do(ledger.book, config)
        done = work.train(began) if trained else work.only_show()
        if work.projectors.integrity is not None:
            raise work.projectors.integrity
        return Result(
            book=ledger.book,
            finished=done,
            trained=trained,
            seconds=time.monotonic() - began,
            unsynced=work.unsynced,
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
    unsynced: int = 0  # records that MLflow does not show in the end

    def only_show(self) -> bool:
        """Bring MLflow up to date with a study that is finished."""
        if (best := to_name(self.ledger.book, self.config.trials)) is not None:
            self.ledger.append(FinishRecord(at=time.time(), best=best))  # its driver died right before
        self.projectors.start()
        self._drain("finished", DRAIN_SECONDS)
        return True

    def train(self, began: float) -> bool:
        """Run the search on workers of its own; return whether it is finished."""
        executor, done, patience = _executor(self.store, self.config, self.driver), False, DRAIN_SECONDS
        outcome: Outcome | None = "suspended"
        try:
            self._begin(executor)
            self.projectors.start()
            done = self._search(executor, began).run()
            patience = HURRY_SECONDS if self.driver.abandon() else patience
        except KeyboardInterrupt:
            patience = 0.0  # Ctrl-C twice: what MLflow has not been shown yet is left to the next driver
            raise
        except StateConflict:
            outcome = None  # another driver took the study over, and shows it: nothing is ended here
            raise
        finally:
            try:
                executor.close()
                self.store.sweep()  # what a worker that was killed left half-written
            finally:
                if outcome is not None:
                    self._drain("finished" if done else outcome, patience)
        return done

    def _begin(self, executor: Executor) -> None:
        """Commit the study record, whose metric and data a worker finds out; later, see that the data are the same."""
        config, study = self.config, self.ledger.book.study
        first = train_config(config, first_params(config)[0], trial_seed(config.seed, 0))
        prepared = executor.prepare(first, None if study is None else study.extractor)
        if study is not None:
            self._same_data(prepared.data)
            return
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
        self.ledger.append(record)

    def _same_data(self, now: dict[str, Any]) -> None:
        if lines := drift.data_differences(self.ledger.book, now):
            if not self.driver.allow_drift:
                raise StateConflict(drift.refusal(self.config.study, lines))
            note = BudgetRecord(at=time.time(), config=self.config.model_dump(mode="json"), allowed=tuple(lines))
            self.ledger.append(note)

    def _search(self, executor: Executor, began: float) -> Search:
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
            should_stop=lambda: driver.should_stop() or time.monotonic() > deadline,
            abandon=driver.abandon,
            tick=self._tick,
        )

    def _tick(self, book: Book) -> list[Record]:
        self.projectors.notify()
        self.driver.watch(book)
        return self.projectors.drain()

    def _drain(self, outcome: Outcome, patience: float) -> None:
        if self.ledger.book.study is None:
            return  # nothing began, so there is nothing to show
        self.unsynced = self.projectors.close(patience, outcome)
        if self.unsynced and self.projectors.failure:
            mend = "`gansearch sync` shows the rest"
            self.driver.say(f"MLflow was not brought up to date: {self.projectors.failure}; {mend}")
        if runs := self.projectors.drain():
            self.ledger.append(*runs)


def _left_to_do(book: Book, config: SearchConfig) -> bool:
    waiting = any(not trial.state.final for trial in book.trials.values())
    return book.study is None or waiting or book.finished < config.trials


def _refuse_drift(ledger: Ledger, config: SearchConfig, allowed: bool) -> None:
    lines = drift.differences(ledger.book, config)
    if lines and not allowed:
        raise StateConflict(drift.refusal(config.study, lines))
    now = config.model_dump(mode="json")
    if ledger.book.study is not None and (lines or ledger.book.config != now):
        ledger.append(BudgetRecord(at=time.time(), config=now, allowed=tuple(lines)))


def _executor(store: Store, config: SearchConfig, driver: Driver) -> RayExecutor:
    from pipeline.ray_executor import RayExecutor

    driver.say(f"starting {config.workers} workers on {driver.address or 'this machine'}")
    modules = sorted(_user_modules(config.model_dump(mode="json")))
    return RayExecutor(
        store.uri,
        config.workers,
        config.gpus_per_worker,
        driver.address,
        modules=modules,
        should_stop=driver.should_stop,
    )


def _user_modules(value: Any) -> set[str]:
    """Return the top-level modules of variants that are written as module:name, which the workers must import too."""
    if isinstance(value, dict):
        return set().union(*(_user_modules(item) for pair in value.items() for item in pair))
    found = re.fullmatch(r"([A-Za-z_]\w*)(\.\w+)*:\w+", value) if isinstance(value, str) else None
    return {found[1]} if found else set()


def draw_best(book: Book, store: Store) -> Path | None:
    """Write the best trial's samples as a picture beside the study's journal, and return its path."""
    best = book.best.best if book.best is not None else None
    if book.best is None or best is None or best.result.samples is None or book.study is None:
        return None
    if not isinstance(store, DiskStore):
        return None
    from trainers.generate import centres_of, picture, read_samples

    drawn, name = io.BytesIO(), f"studies/{book.study.study}/best.png"
    samples = read_samples(store.get(best.result.samples))
    picture(samples, centres_of(book.best.spec.config)).save(drawn, format="PNG")
    store.replace(name, drawn.getvalue())
    return Path(store.path) / name
