"""What must be true of a search that was killed again and again, and how the steps that it cost are counted.

All pure: each check returns what is wrong, a line each, and nothing where all is well.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

from pipeline import policies
from pipeline.book import Book
from pipeline.records import DecisionRecord, Record, SegmentRecord, TrialRecord
from trainers.errors import Unreachable

GAVE_UP = Unreachable.exit_code  # of a driver that lacks something before it trains
MOST_GIVEN_UP = 5  # drivers; more is no chance: a worker is killed only now and then before a driver's first trial


def may_give_up(code: int | None, talk: str, before: int) -> bool:
    """Whether a driver ended because a worker was killed before its first trial, as `before` drivers did, a few."""
    return code == GAVE_UP and "a worker died before the first trial" in talk and before < MOST_GIVEN_UP


def wrong_in_faults(kills: Mapping[str, int], book: Book) -> list[str]:
    """Tell which faults were not injected, or met nothing, so that nothing is proved."""
    lines = [f"no {what} was killed" for what in ("worker", "driver") if not kills.get(what)]
    return lines + ([] if trials_hit(book) else ["no trial was hit"])


def trials_hit(book: Book) -> int:
    """Count the trials that had to go on in another attempt."""
    return sum(len(trial.attempts) > 1 for trial in book.trials.values())


def wrong_in_journal(records: Iterable[Record], budget: int) -> list[str]:
    """Tell which trials have not exactly one final state, or not each of their segments once, and a missed budget."""
    final, ends, begun = Counter[int](), dict[int, int](), set[int]()
    lines, finished = [], 0
    for record in records:
        if isinstance(record, TrialRecord):
            begun.add(record.spec.number)
        elif isinstance(record, DecisionRecord) and record.state.final:
            final[record.trial] += 1
            finished += record.state.counts
        elif isinstance(record, SegmentRecord):
            if record.result.start != ends.get(record.trial, 0):
                lines.append(f"trial {record.trial}: a segment begins at {record.result.start}, not where one ended")
            ends[record.trial] = record.result.stop
    lines += [f"trial {number} has {final[number]} final states" for number in sorted(begun) if final[number] != 1]
    return lines + ([] if finished == budget else [f"{finished} trials are finished, but the budget was {budget}"])


def wrong_in_runs(runs: Mapping[str, list[str]], book: Book) -> list[str]:
    """Tell which trials have not exactly one run, and which runs have not ended; `runs`: statuses by trial key."""
    keys = {trial.spec.key for trial in book.trials.values()} | {""}  # the study's own
    lines = [f"{len(runs.get(key, []))} runs show {key or 'the study'}" for key in keys if len(runs.get(key, [])) != 1]
    lines += [f"runs show {key}, which is no trial" for key in runs.keys() - keys]
    return sorted(lines + [f"the run of {key or 'the study'} is RUNNING" for key in runs if "RUNNING" in runs[key]])


def wrong_in_blobs(found: Collection[str], book: Book, compacted: Collection[str]) -> list[str]:
    """Tell which blobs nothing needs, and which are needed but not there; `compacted`: those of the journal."""
    kept = policies.kept(book)
    needed = {book.study.extractor if book.study else None, *compacted}
    for trial in book.trials.values():
        needed |= {blob for s in trial.segments for blob in (s.result.history, s.result.samples)}
        if trial.best is not None and trial.number in kept:
            needed.add(trial.best.result.generator)
    needed.discard(None)
    lines = sorted(f"nothing needs blob {blob}" for blob in set(found) - needed)
    return lines + sorted(f"blob {blob} is missing" for blob in needed - set(found))


@dataclass(frozen=True)
class Work:
    """Steps that count, and steps that were trained again, at most."""

    useful: int
    gone_back: int  # committed, but behind the checkpoint from which an attempt went on
    in_flight: int  # under way when their attempt ended

    @property
    def share(self) -> float:
        """The useful part of all steps trained, at least."""
        return self.useful / max(1, self.useful + self.gone_back + self.in_flight)


def work_of(book: Book) -> Work:
    """Count the steps of a study from its journal.

    The journal does not tell how far an attempt was when it ended, so each one that another replaced counts as a whole
    segment; what it had committed, but the next attempt did not begin with, is known exactly.
    """
    back = flight = 0
    for trial in book.trials.values():
        segment_steps = trial.spec.config.segment_steps
        for attempt in trial.attempts[1:]:
            reached = [s.result.stop for s in trial.segments if s.attempt < attempt.attempt]
            back += max(reached, default=0) - attempt.step
            flight += segment_steps
    return Work(sum(trial.steps for trial in book.trials.values()), back, flight)
