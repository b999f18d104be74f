"""A search on a test bench: real loop, policies and ledger; made-up trainings; a driver that can die at any call."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from pipeline.asking import Asker
from pipeline.book import Book, Trial
from pipeline.config import HalvingConfig, RetryConfig, SearchConfig, search_space
from pipeline.ledger import Ledger, read_book
from pipeline.records import Origin, Record, Scalar
from pipeline.search import Search
from pipeline.store import Store
from search_spaces import defaults
from tests.fakes import journal
from tests.fakes.memory_store import MemoryStore
from tests.fakes.scripted_executor import Course, ScriptedExecutor, in_turn

STUDY = "bench"
SEGMENT = 10  # steps


class DriverDiedError(BaseException):
    """The driver's process is gone; nothing may catch it."""


@dataclass
class Fuse:
    """Kills the driver, once, when it has looked at the outside world `left` times; None never does."""

    left: int | None = None

    def burn(self) -> None:
        if self.left is not None:
            self.left -= 1
            if self.left < 0:
                self.left = None
                raise DriverDiedError


class MortalStore(MemoryStore):
    """A driver may die right before an object is durable, or right after."""

    def __init__(self) -> None:
        super().__init__()
        self.fuse = Fuse()

    def create(self, name: str, data: bytes) -> None:
        self.fuse.burn()
        super().create(name, data)
        self.fuse.burn()

    def discard(self, digest: str) -> None:
        self.fuse.burn()
        super().discard(digest)

    def set_aside(self, digest: str) -> str:
        self.fuse.burn()
        return super().set_aside(digest)


@dataclass
class Defaults:
    """Asks for published defaults by turns; of the trials in `refused`, for one that a static rule refuses."""

    config: SearchConfig
    refused: Callable[[int], bool] = lambda number: False

    def ask(self, number: int, trials: list[Trial]) -> dict[str, Scalar]:
        assert [trial.number for trial in trials] == list(range(number))
        gan, wgan, wgan_gp = defaults(search_space(self.config))
        return wgan_gp if self.refused(number) else (gan, wgan)[number % 2]

    def origin(self, number: int) -> Origin:
        return "default"


def config(trials: int = 3, segments: int = 3, **changes: Any) -> SearchConfig:
    """A search over three spaces; gradient penalties are refused, since the discriminator has batch normalisation."""
    train = {
        "steps": segments * SEGMENT,
        "segment_steps": SEGMENT,
        "network": {"name": "dcgan", "norm_d": "batch"},
        **changes.pop("train", {}),
    }
    facts = {"halving": HalvingConfig(enabled=False), "retries": RetryConfig(worker_lost=1, device_memory=0)}
    return SearchConfig(study=STUDY, trials=trials, train=train, **facts | changes)


def courses(*scores: tuple[float | None, ...], trials: int = 9, segments: int = 6) -> dict[int, Course]:
    """Courses with these scores, then others that get better by one a segment."""
    rest = [tuple(float(segments - index) for index in range(segments))] * trials
    return {number: Course(scores=course) for number, course in enumerate([*scores, *rest])}


def drive(
    store: Store,
    search: SearchConfig,
    executor: ScriptedExecutor,
    *,
    asker: Asker | None = None,
    should_stop: Callable[[], bool] = lambda: False,
    tick: Callable[[Book], list[Record]] = lambda book: [],
) -> bool:
    """One driver's life: it opens the study, begins it if it is new, and runs it; its lock goes with it."""
    fuse = store.fuse if isinstance(store, MortalStore) else Fuse()

    def stop() -> bool:
        fuse.burn()
        return should_stop()

    def show(book: Book) -> list[Record]:
        fuse.burn()
        return tick(book)

    with Ledger.open(store, search.study) as ledger:
        if ledger.book.study is None:
            ledger.append(journal.study(study=search.study, config=search.model_dump(mode="json")))
        return Search(
            config=search,
            ledger=ledger,
            executor=executor,
            asker=asker or Defaults(search),
            blobs=store,
            should_stop=stop,
            tick=show,
        ).run()


def executor(store: Store, search: SearchConfig, plan: dict[int, Course], **changes: Any) -> ScriptedExecutor:
    names = tuple(f"worker-{number}" for number in range(search.workers))
    return ScriptedExecutor(store=store, courses=plan, workers=names, **{"choose": in_turn, **changes})


def book(store: Store) -> Book:
    return read_book(store, STUDY)


def states(store: Store) -> list[str]:
    return [trial.state.value for trial in book(store).trials.values()]


def answers(*script: str) -> Callable[[list[str]], list[tuple[str, str]]]:
    """The oldest call is answered as the script says, then with segments; "nobody" is a time-out."""
    left = list(script)

    def choose(workers: list[str]) -> list[tuple[str, str]]:
        how = left.pop(0) if left else "segment"
        return [] if how == "nobody" else [(worker, how) for worker in workers[:1]]

    return choose


def stop_after(looks: int) -> Callable[[], bool]:
    """Not at the first so many looks, and then always."""
    left = [looks]

    def should_stop() -> bool:
        left[0] -= 1
        return left[0] < 0

    return should_stop
