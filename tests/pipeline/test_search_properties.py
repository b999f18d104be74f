"""Whatever dies, and in whatever order answers come: the search ends as if it could not have gone otherwise."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, field
from random import Random
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.book import Book, Trial
from pipeline.config import HalvingConfig, RetryConfig, SearchConfig, first_params, search_space
from pipeline.ledger import read_records
from pipeline.policies import kept
from pipeline.records import AttemptRecord, DecisionRecord, SegmentRecord, TrialState
from pipeline.study import Sampler
from tests.fakes.scripted_executor import Course
from tests.fakes.search_bench import STUDY, Defaults, DriverDiedError, Fuse, MortalStore, book, config, drive, executor
from trainers.errors import GansearchError, UserError

MAX_SEGMENTS = 5


class Courses(dict[int, Course]):
    """A course for every trial that may be asked for: a function of its number."""

    def __init__(self, seed: int, *, large: bool = False) -> None:
        super().__init__()
        self.seed, self.large = seed, large  # whether some need more memory than there is

    def __missing__(self, number: int) -> Course:
        rng = Random(f"{self.seed}/{number}")
        scores = tuple(rng.choice([None, *map(float, range(6))]) for _ in range(MAX_SEGMENTS))
        diverges_in = rng.choice([None, None, None, 1, 2, 3])
        too_large_in = rng.choice([None] * 9 + [1, 2, 3]) if self.large else None
        self[number] = Course(scores=scores, diverges_in=diverges_in, too_large_in=too_large_in)
        return self[number]


@dataclass
class Plan:
    """A search, how its trials go, and the lives of its drivers."""

    search: SearchConfig
    seed: int
    lives: list[tuple[str, int]]  # how it ends, after how many looks at the world
    rng: Random
    store: MortalStore = field(default_factory=MortalStore)
    started: list[int] = field(default_factory=list)
    lost: list[str] = field(default_factory=list)

    def refused(self, number: int) -> bool:
        return Random(f"{self.seed}/refused/{number}").random() < 0.3

    def choose(self, deadly: bool) -> Any:
        """Some of the workers answer, in any order; where it is deadly, some of them are lost."""

        def choice(workers: list[str]) -> list[tuple[str, str]]:
            self.store.fuse.burn()
            if not deadly:
                return [(worker, "segment") for worker in self.rng.sample(workers, 1)]
            some = self.rng.sample(workers, self.rng.randint(0, len(workers)))
            causes = ["segment"] * 9 + ["worker_lost", "worker_lost", "device_memory", "checkpoint", "user_error"]
            return [(worker, self.rng.choice(causes)) for worker in some]

        return choice

    def live(self, end: str, looks: int) -> bool:
        """One driver's life; a driver whose search raises one of its own errors has ended too."""
        left = [looks]

        def should_stop() -> bool:
            left[0] -= 1
            return end == "stopped" and left[0] < 0

        before = set(book(self.store).trials) if read_records(self.store, STUDY) else set()
        self.store.fuse = Fuse(looks if end == "died" else None)
        fake = executor(self.store, self.search, Courses(self.seed), choose=self.choose(end != "done"))
        asker = Defaults(self.search, refused=self.refused)
        try:
            return drive(self.store, self.search, fake, asker=asker, should_stop=should_stop)
        finally:
            self.store.fuse = Fuse()
            self.started += [trial for _, trial, _ in fake.started]
            self._old_ones_first([trial for _, trial, _ in fake.started], before)

    def _old_ones_first(self, started: list[int], before: set[int]) -> None:
        first_starts = list(dict.fromkeys(started))
        assert first_starts == sorted(first_starts, key=lambda number: number not in before)


@st.composite
def plans(draw: st.DrawFn) -> Plan:
    segments = draw(st.integers(1, MAX_SEGMENTS))
    halving = HalvingConfig(
        enabled=draw(st.booleans()), first_rung=draw(st.integers(5, 25)), eta=draw(st.integers(2, 3))
    )
    search = config(
        trials=draw(st.integers(1, 5)),
        workers=draw(st.integers(1, 3)),
        halving=halving,
        retries=RetryConfig(worker_lost=draw(st.integers(0, 2)), device_memory=draw(st.integers(0, 1)), checkpoint=1),
        train={
            "steps": segments * 10 - draw(st.sampled_from([0, 0, 3])),
            "checkpoint_every": draw(st.integers(1, 3)),
            "score_at": draw(st.sampled_from(["best", "last"])),
        },
    )
    ends = st.tuples(st.sampled_from(["died", "stopped"]), st.integers(0, 60))
    return Plan(
        search=search,
        seed=draw(st.integers(0, 1000)),
        lives=draw(st.lists(ends, max_size=4)),
        rng=draw(st.randoms(use_true_random=False)),
    )


@settings(max_examples=150, deadline=None)
@given(plan=plans())
def test_every_trial_is_decided_once_whatever_dies(plan: Plan):
    for end, looks in plan.lives:
        try:
            finished = plan.live(end, looks)
        except (DriverDiedError, UserError):
            continue
        except GansearchError as error:
            if not str(error).startswith("the last 3 trials failed"):
                raise  # any other would be a fault of the loop
            continue
        assert finished or end == "stopped"
        assert not [t for t in book(plan.store).trials.values() if t.state is TrialState.RUNNING]
    assert plan.live("done", 0)

    seen = book(plan.store)
    assert seen.finished == plan.search.trials
    assert len(seen.trials) - seen.counts["failed"] == seen.finished
    _each_trial_has_one_end(plan, seen)
    for trial in seen.trials.values():
        _a_trial_ended_as_it_had_to(plan, trial)
        _exactly_what_is_needed_is_kept(plan, trial, trial.number in kept(seen))


def _each_trial_has_one_end(plan: Plan, seen: Book) -> None:
    records = read_records(plan.store, STUDY)
    ends = [r.trial for r in records if isinstance(r, DecisionRecord) and r.state.final]
    assert sorted(ends) == sorted(seen.trials)
    committed = [(r.trial, r.result.stop) for r in records if isinstance(r, SegmentRecord)]
    assert len(committed) == len(set(committed))
    attempts = [(r.trial, r.attempt) for r in records if isinstance(r, AttemptRecord)]
    assert len(attempts) == len(set(attempts))


def _a_trial_ended_as_it_had_to(plan: Plan, trial: Trial) -> None:
    course = Courses(plan.seed)[trial.number]
    results = [segment.result for segment in trial.segments]
    stops = [result.stop for result in results]
    assert [result.start for result in results] == [0, *stops][: len(stops)]
    assert [result.score for result in results] == list(course.scores[: len(stops)])
    if plan.refused(trial.number):
        assert (trial.state, trial.number in plan.started) == (TrialState.DIVERGED, False)
        return
    diverged = len(stops) == course.diverges_in
    complete = trial.steps == plan.search.train["steps"]
    expected = TrialState.DIVERGED if diverged else TrialState.COMPLETED if complete else None
    early = {TrialState.FAILED} | ({TrialState.PRUNED} if plan.search.halving.enabled else set())
    assert trial.state is expected or (expected is None and trial.state in early)
    if trial.state is TrialState.FAILED:
        cause = trial.losses[-1].cause
        assert sum(loss.cause == cause for loss in trial.losses) > getattr(plan.search.retries, cause, 0)
    scores = [score for score in course.scores[: len(stops)] if score is not None]
    wanted = scores and (scores[-1] if trial.spec.config.score_at == "last" else min(scores))
    assert trial.decision.score == (wanted if scores else None)


def _exactly_what_is_needed_is_kept(plan: Plan, trial: Trial, is_kept: bool) -> None:
    results = [segment.result for segment in trial.segments]
    for result in results:
        assert plan.store.get(result.history)
        assert plan.store.get(result.samples)
    best = {trial.best.result.generator} if trial.best and is_kept else set()
    there = {d for r in results for d in (r.checkpoint, r.generator) if d in plan.store.blobs}
    if trial.state is not TrialState.FAILED:  # its last segments may have been trained again and then been lost
        assert there == best
    assert there >= best


@settings(max_examples=12, deadline=None)
@given(looks=st.lists(st.integers(0, 60), max_size=3), seed=st.integers(0, 1000))
def test_with_one_worker_a_search_that_died_equals_one_that_did_not(looks: list[int], seed: int):
    search = config(trials=6, segments=3, workers=1, n_startup_trials=2, halving=HalvingConfig(first_rung=10, eta=2))

    def whole(store: MortalStore) -> list[Any]:
        asker = Sampler(search_space(search), seed=search.seed, n_startup_trials=2, first=first_params(search)[:1])
        drive(store, search, executor(store, search, Courses(seed)), asker=asker)
        return [
            (t.spec, t.state, t.score, t.decision.reason, [s.result for s in t.segments])
            for t in book(store).trials.values()
        ]

    died, straight = MortalStore(), MortalStore()
    for left in looks:
        died.fuse = Fuse(left)
        with suppress(DriverDiedError):
            whole(died)
        died.fuse = Fuse()
    assert whole(died) == whole(straight)
