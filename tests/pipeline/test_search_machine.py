"""A state machine over the real loop, policies and ledger: drivers and workers die, freeze and come back at will.

Drivers live in threads, of which one runs at a time: each goes on until its executor waits for answers, until it is
frozen between two calls of the store, or until it ends. A second driver may take over from a first that is still alive.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from queue import SimpleQueue
from random import Random
from threading import Event, Thread
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from pipeline.book import Book, Trial
from pipeline.config import HalvingConfig, RetryConfig, SearchConfig, search_space
from pipeline.ledger import Ledger, read_book, read_records
from pipeline.policies import kept
from pipeline.records import (
    AttemptRecord,
    DecisionRecord,
    Origin,
    Record,
    RunRecord,
    Scalar,
    SegmentRecord,
    TrialRecord,
    TrialState,
)
from pipeline.search import Search
from search_spaces import defaults
from tests.fakes import journal
from tests.fakes.memory_store import MemoryStore
from tests.fakes.scripted_executor import ScriptedExecutor, in_turn
from tests.fakes.search_bench import STUDY, DriverDiedError, config
from tests.pipeline.test_search_properties import MAX_SEGMENTS, Courses
from trainers.errors import GansearchError, StateConflict

CAUSES = ["worker_lost", "node_lost", "preemption", "host_memory", "device_memory", "checkpoint"]
PATIENCE = 30.0  # seconds for a thread to come to rest; never waited for


class Telltale:
    """Parameters that follow from all that is known of the trials, so that another order gives other ones."""

    def __init__(self, search: SearchConfig) -> None:
        self._choices = defaults(search_space(search))

    def ask(self, number: int, trials: list[Trial]) -> dict[str, Scalar]:
        known = [(t.number, t.state.final and t.state, t.score, t.steps, t.spec.params) for t in trials]
        return self._choices[hashlib.sha256(repr(known).encode()).digest()[0] % 3]

    def origin(self, number: int) -> Origin:
        return "sampled"


class Driver:
    """One driver's life; its store is a view of the shared one, through which it can be stopped."""

    def __init__(self, shared: MemoryStore, search: SearchConfig, seed: int, outage: Event, placeless: int = 0) -> None:
        self.store = View(shared, self)
        self.error: BaseException | None = None
        self.finished = False
        self.stopping = False
        self.frozen = False
        self.waiting: list[str] = []  # workers that the executor could hear from
        self.calls_left: int | None = None  # of the store, until it dies or freezes
        self.dies = False
        self._search, self._seed, self._outage = search, seed, outage
        self._placeless = placeless  # of its workers, but one
        self._answers: SimpleQueue[list[tuple[str, str]]] = SimpleQueue()
        self._thaw, self._rests = Event(), Event()
        self._shown = 0
        self._thread = Thread(target=self._live, daemon=True)

    @property
    def ended(self) -> bool:
        return not self._thread.is_alive()

    def begin(self) -> None:
        self._thread.start()
        self._wait()

    def answer(self, answers: list[tuple[str, str]]) -> None:
        """Let its workers answer, and wait until it rests again."""
        self._rests.clear()
        self._answers.put(answers)
        self._wait()

    def thaw(self) -> None:
        self.frozen = False
        self._rests.clear()
        self._thaw.set()
        self._wait()

    def call(self) -> None:
        """What each of its calls of the store goes through."""
        if self.dies and self.calls_left is not None and self.calls_left < 0:
            raise DriverDiedError  # a dead process tidies nothing up
        if self.calls_left is not None:
            self.calls_left -= 1
            if self.calls_left < 0 and self.dies:
                raise DriverDiedError
            if self.calls_left < 0:
                self.calls_left = None
                self._freeze()

    def _freeze(self) -> None:
        self.frozen = True
        self._thaw.clear()
        self._rests.set()
        assert self._thaw.wait(PATIENCE)

    def _wait(self) -> None:
        assert self._rests.wait(PATIENCE)
        if not (self.frozen or self.waiting):
            self._thread.join(PATIENCE)

    def _live(self) -> None:
        try:
            self.finished = self._drive()
        except BaseException as error:
            self.error = error
        self.waiting = []
        self._rests.set()

    def _drive(self) -> bool:
        search = self._search
        names = tuple(f"worker-{number}" for number in range(search.workers))
        executor = ScriptedExecutor(
            store=self.store,
            courses=Courses(self._seed, large=True),
            workers=names,
            choose=self._hear,  # type: ignore[arg-type]
            homeless_for=2,
            placeless=frozenset(names[1 : 1 + self._placeless]),
        )
        quiet: dict[str, Any] = {"beat": 3600.0, "patience": 0.0, "say": lambda _: None, "compact_at": 12}
        with Ledger.open(self.store, STUDY, **quiet) as ledger:
            if ledger.book.study is None:
                ledger.append(journal.study(study=STUDY, config=search.model_dump(mode="json")))
            return Search(
                config=search,
                ledger=ledger,
                executor=executor,
                asker=Telltale(search),
                blobs=self.store,
                should_stop=lambda: self.stopping,
                tick=lambda book: self._project(ledger, book),
            ).run()

    def _hear(self, workers: list[str]) -> list[tuple[str, str]]:
        self.waiting = workers
        self._rests.set()
        answers = self._answers.get(timeout=PATIENCE)
        self.waiting = []
        return answers

    def _project(self, ledger: Ledger, book: Book) -> list[Record]:
        """A projection that may be out of reach, and then shows what it missed; it only ever sees what is durable."""
        if self._outage.is_set():
            return []
        fresh = [r for r in ledger.records[self._shown :] if isinstance(r, TrialRecord)]
        self._shown = len(ledger.records)
        known = {number for number, trial in book.trials.items() if trial.run_id is not None}
        missing = [r.spec.number for r in fresh if r.spec.number not in known]
        return [journal.run(number, f"run {number}") for number in missing]


class View(MemoryStore):
    """The shared store as one driver sees it."""

    def __init__(self, shared: MemoryStore, driver: Driver) -> None:
        super().__init__()
        self.__dict__.update(shared.__dict__)  # the same dictionaries and locks
        self._driver = driver

    def __getattribute__(self, name: str) -> Any:
        found = super().__getattribute__(name)
        if name not in ("create", "read", "names", "replace", "remove", "put", "get", "discard", "set_aside"):
            return found

        def through(*args: Any) -> Any:
            self._driver.call()
            result = found(*args)
            self._driver.call()
            return result

        return through


class Machine(RuleBasedStateMachine):
    """Everything that can happen to a study, in any order."""

    @initialize(
        seed=st.integers(0, 1000),
        trials=st.integers(4, 16),
        workers=st.integers(1, 3),
        segments=st.integers(1, MAX_SEGMENTS),
        every=st.integers(1, 3),
        schedule=st.sampled_from(["throughput", "reproducible"]),
        halving=st.builds(HalvingConfig, enabled=st.booleans(), first_rung=st.integers(5, 25), eta=st.integers(2, 3)),
    )
    def begin(self, seed: int, schedule: str, halving: HalvingConfig, **sizes: int) -> None:
        self.causes = [cause for cause in CAUSES if schedule != "reproducible" or cause != "device_memory"]
        budgets = dict.fromkeys(CAUSES, 1) | (dict.fromkeys(self.causes, 1000) if schedule == "reproducible" else {})
        train = {"steps": sizes["segments"] * 10, "checkpoint_every": sizes["every"]}
        facts: dict[str, Any] = {"schedule": schedule, "halving": halving, "retries": RetryConfig(**budgets)}
        self.search = config(sizes["trials"], workers=sizes["workers"], train=train, **facts)
        self.seed = seed
        self.shared = MemoryStore()
        self.outage = Event()
        self.drivers: list[Driver] = []
        self.seen: list[Record] = []

    def alive(self) -> list[Driver]:
        return [driver for driver in self.drivers if not driver.ended]

    def awake(self) -> list[Driver]:
        return [driver for driver in self.alive() if not driver.frozen]

    @precondition(lambda self: len(self.alive()) < 2 + self.seed % 2 and not any(d.finished for d in self.drivers))
    @rule(placeless=st.integers(0, 2))
    def another_driver_comes(self, placeless: int) -> None:
        self.drivers.append(Driver(self.shared, self.search, self.seed, self.outage, placeless))
        self.drivers[-1].begin()

    @precondition(lambda self: self.awake())
    @rule(rng=st.randoms(use_true_random=False), rounds=st.integers(1, 6), deadly=st.booleans())
    def workers_answer(self, rng: Random, rounds: int, deadly: bool) -> None:
        """Some of the workers, in any order, with a segment or with the cause of a loss; some at the same time."""
        for _ in range(rounds):
            if not self.awake():
                return
            driver = rng.choice([*self.awake(), *[self.awake()[-1]] * 3])
            some = rng.sample(driver.waiting, rng.randint(0, len(driver.waiting)))
            hows = ["segment"] * 6 + ["node_lost"] * 3 + self.causes if deadly else ["segment"]
            driver.answer([(worker, rng.choice(hows)) for worker in some])

    @precondition(lambda self: self.awake())
    @rule(data=st.data(), calls=st.integers(0, 99), dies=st.booleans())
    def driver_dies_or_freezes_soon(self, data: st.DataObject, calls: int, dies: bool) -> None:
        driver = data.draw(st.sampled_from(self.awake()))
        driver.calls_left, driver.dies = calls, dies

    @precondition(lambda self: any(driver.frozen for driver in self.drivers))
    @rule(data=st.data())
    def a_frozen_driver_thaws(self, data: st.DataObject) -> None:
        data.draw(st.sampled_from([driver for driver in self.drivers if driver.frozen])).thaw()

    @precondition(lambda self: self.awake())
    @rule(data=st.data())
    def driver_is_asked_to_stop(self, data: st.DataObject) -> None:
        data.draw(st.sampled_from(self.awake())).stopping = True

    @rule(down=st.booleans())
    def projection_goes_down_or_up(self, down: bool) -> None:
        if down:
            self.outage.set()
        else:
            self.outage.clear()

    @invariant()
    def nothing_is_twice_and_nothing_is_taken_back(self) -> None:
        if not hasattr(self, "shared"):
            return
        records = read_records(self.shared, STUDY)
        read_book(self.shared, STUDY)  # it folds: segments are contiguous, final states are final
        for kind, found in _counted(records):
            assert len(found) == len(set(found)), f"{kind} twice"
        if not any(driver.frozen for driver in self.drivers):  # one may be frozen before it knows that it is fenced
            assert records[: len(self.seen)] == self.seen
            self.seen = records
        for driver in self.drivers:
            assert driver.error is None or isinstance(driver.error, DriverDiedError | StateConflict) or _told(driver)
            assert driver.finished or driver.stopping or driver.error or not driver.ended, "it gave up"

    def teardown(self) -> None:
        if not hasattr(self, "shared"):
            return
        self.outage.clear()
        for driver in self.drivers:
            driver.calls_left, driver.dies = 0, True  # at its next call
            if driver.frozen:
                driver.thaw()
            elif not driver.ended:
                driver.answer([])
                while not driver.ended:
                    driver.answer(in_turn(driver.waiting))
        _straight(self.shared, self.search, self.seed)
        self._check_the_end()

    def _check_the_end(self) -> None:
        book = read_book(self.shared, STUDY)
        records = read_records(self.shared, STUDY)
        ends = [r.trial for r in records if isinstance(r, DecisionRecord) and r.state.final]
        assert sorted(ends) == sorted(book.trials)
        assert book.finished == self.search.trials
        for trial in book.trials.values():
            course = Courses(self.seed, large=True)[trial.number]
            stops = [segment.result.stop for segment in trial.segments]
            assert stops == list(range(10, 10 * len(stops) + 10, 10))
            assert [segment.result.score for segment in trial.segments] == list(course.scores[: len(stops)])
            assert all(self.shared.get(segment.result.history) for segment in trial.segments)
            if trial.number in kept(book) and trial.best is not None:
                assert self.shared.get(trial.best.result.generator or "")
        if self.search.schedule == "reproducible":
            assert [trial.begins for trial in book.trials.values()] == _begins(book, self.search.workers)
            alone = MemoryStore()
            _straight(alone, self.search, self.seed)
            assert _outcome(book) == _outcome(read_book(alone, STUDY))


def _begins(book: Book, workers: int) -> list[int]:
    """When trials would begin on workers that are equally fast, each of which takes the next one when it is free."""
    free, begins = [0] * workers, []
    for trial in book.trials.values():
        begins.append(min(free))
        free[free.index(begins[-1])] += trial.steps + (10 if trial.state is TrialState.FAILED else 0)
    return begins


def _told(driver: Driver) -> bool:
    """Whether a driver ended with what it may tell its user: a failed search."""
    return isinstance(driver.error, GansearchError) and str(driver.error).startswith("the last 3 trials failed")


def _counted(records: list[Record]) -> Iterator[tuple[str, list[Any]]]:
    yield "a trial", [r.spec.number for r in records if isinstance(r, TrialRecord)]
    yield "a segment", [(r.trial, r.result.stop) for r in records if isinstance(r, SegmentRecord)]
    yield "an attempt", [(r.trial, r.attempt) for r in records if isinstance(r, AttemptRecord)]
    yield "an end", [r.trial for r in records if isinstance(r, DecisionRecord) and r.state.final]
    yield "a run", [r.trial for r in records if isinstance(r, RunRecord)]


def _straight(store: MemoryStore, search: SearchConfig, seed: int) -> None:
    """Run a search to its end; one that gave up after three failures in a row is started again."""
    for _ in range(20):
        driver = Driver(store, search, seed, Event())
        driver.begin()
        while not driver.ended:
            driver.answer(in_turn(driver.waiting))
        if driver.finished:
            return
        assert _told(driver), driver.error
    raise AssertionError("it gave up again and again")


def _outcome(book: Book) -> list[Any]:
    """All that must not depend on who died: parameters, order, states, scores and segments."""
    return [
        (
            t.spec.params,
            t.begins,
            t.state,
            t.score,
            t.steps,
            [s.result for s in t.segments],
            t.state is TrialState.FAILED,
        )
        for t in book.trials.values()
    ]


TestMachine = Machine.TestCase
TestMachine.settings = settings(max_examples=60, stateful_step_count=50, deadline=None)
