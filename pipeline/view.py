"""What a terminal shows; the only file that imports rich."""

from __future__ import annotations

import sys
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, TextIO

import yaml
from rich.box import SIMPLE
from rich.console import Console
from rich.live import Live
from rich.table import Table

from pipeline.book import Book, Trial
from pipeline.launch import Result

PLAIN_EVERY = 10.0  # seconds between two lines where there is no terminal
NO_VALUE = "-"
WIDE, SHORT_ID = 150, 8  # columns of a terminal that has room for whole run ids, and how much of one is shown elsewhere


def _console(stream: TextIO, *, soft_wrap: bool = False) -> Console:
    """Return a console that shows text as it is: names and paths may look like markup or emoji codes."""
    return Console(file=stream, highlight=False, markup=False, emoji=False, soft_wrap=soft_wrap)


def number(value: Any) -> str:
    """Return a value short enough for a table."""
    if value is None:
        return NO_VALUE
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def short_params(params: Mapping[str, Any]) -> str:
    """Return parameters by the last part of their keys; the branch of a union comes first and without its key."""
    rest = [f"{key.rpartition('.')[2]}={number(value)}" for key, value in params.items() if key != "space"]
    return " ".join([*([str(params["space"])] if "space" in params else []), *rest])


def headline(book: Book) -> str:
    """Return the study in one line."""
    counts = ", ".join(f"{count} {state}" for state, count in book.counts.items() if count)
    running = sum(not trial.state.final for trial in book.trials.values())
    best = book.best
    told = f"best: trial {best.number}, {number(best.score)}" if best else "no completed trial yet"
    return f"{book.finished} finished ({counts or 'none'}), {running} under way; {told}"


class Progress:
    """A live table on a terminal, a plain line now and then elsewhere; always on stderr.

    Args:
        stream: where to show it.
        total: the budget of trials.
    """

    def __init__(self, stream: TextIO = sys.stderr, total: int = 0) -> None:
        self._console = _console(stream)
        self._total = total
        self._live = Live(console=self._console, auto_refresh=False) if self._console.is_terminal else None
        self._told = (float("-inf"), -1)

    def __enter__(self) -> Progress:
        if self._live is not None:
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._live is not None:
            self._live.stop()

    def say(self, line: str) -> None:
        """Show one line."""
        self._console.print(line, soft_wrap=True)

    def watch(self, book: Book) -> None:
        """Show how the study stands."""
        if self._live is not None:
            self._live.update(self._table(book), refresh=True)
            return
        told, finished = self._told
        now = time.monotonic()
        if finished != book.finished and now - told > PLAIN_EVERY:
            self._told = (now, book.finished)
            self.say(f"{headline(book)} of {self._total}")

    def _table(self, book: Book) -> Table:
        table = Table(title=f"{headline(book)} of {self._total}", title_justify="left", expand=False)
        for name in ("trial", "steps", "score", "parameters"):
            table.add_column(name)
        for trial in [t for t in book.trials.values() if not t.state.final][:20]:
            table.add_row(str(trial.number), str(trial.steps), number(trial.score), short_params(trial.spec.params))
        return table


def print_result(result: Result, out: TextIO, options: str) -> None:
    """Print how a search ended: the best trial, its samples, and what to type next.

    Args:
        result: of the search.
        out: where to.
        options: of the command line that every next command needs, such as `--store elsewhere`.
    """
    console = _console(out, soft_wrap=True)
    book, best = result.book, result.book.best
    name = book.study.study if book.study else ""
    if not result.trained:
        console.print(f"study {name} is finished already; nothing was trained (a larger --trials goes on)")
    steps = sum(trial.steps for trial in book.trials.values())
    console.print(f"study {name}: {headline(book)}; {steps:,} steps, {result.seconds:.0f} s")
    for kind, count in Counter(t.event.kind for t in book.trials.values() if t.event is not None).most_common():
        console.print(f"  {count} x {kind}")
    if best is not None:
        metric = book.study.metric if book.study else ""
        told = f"best: trial {best.number}, {metric} {number(best.score)}: {short_params(best.spec.params)}"
        console.print(told)
    if result.picture is not None:
        console.print(f"its samples: {result.picture}")
    if result.unsynced:
        console.print(f"MLflow lags behind by {result.unsynced} records; the same command brings it up to date")
    for command, does in _next_commands(result, options):
        console.print(f"  {command:<48} {does}")


def _next_commands(result: Result, options: str) -> list[tuple[str, str]]:
    best = result.book.best
    if best is None:
        return [(f"gansearch trials{options}", "see what became of each trial")]
    return [
        (f"gansearch ui{options}", "review the runs"),
        (f"gansearch register{options}", "give the best generator to the model registry"),
        (f"gansearch rerun {best.number} --verify{options}", "train it again and compare every bit"),
    ]


def print_table(rows: Sequence[Mapping[str, Any]], out: TextIO) -> None:
    """Print rows of equal keys as a table; parameters and sentences wrap, and where it is narrow, run ids are cut."""
    console = _console(out)
    if not rows:
        console.print("nothing yet")
        return
    table = Table(box=SIMPLE, pad_edge=False)
    for key in rows[0]:
        wraps = any(isinstance(row[key], Mapping) or " " in str(row[key]) for row in rows)
        widest = SHORT_ID if key == "run_id" and console.width < WIDE else None
        table.add_column(key, overflow="fold" if wraps else "ellipsis", no_wrap=not wraps, max_width=widest)
    for row in rows:
        table.add_row(*(short_params(v) if isinstance(v, Mapping) else number(v) for v in row.values()))
    console.print(table)


def print_registration(document: Mapping[str, Any], out: TextIO) -> None:
    """Print what `gansearch register` did: the gates, and the version."""
    print_table(document["gates"], out)
    version = document["version"]
    told = "nothing is registered" if version is None else f"version {version} @{document['alias']}"
    _console(out, soft_wrap=True).print(f"{document['model']}: {told}")


def print_yaml(value: Any, out: TextIO) -> None:
    """Print nested values as YAML."""
    yaml.safe_dump(value, out, sort_keys=False, allow_unicode=True)


def trial_row(trial: Trial) -> dict[str, Any]:
    """Return a trial's row of `gansearch trials`."""
    return {
        "number": trial.number,
        "state": trial.state.value,
        "score": trial.score,
        "steps": trial.steps,
        "device_seconds": round(trial.device_seconds, 3),
        "event": trial.event.kind if trial.event else None,
        "run_id": trial.run_id,
        "params": dict(trial.spec.params),
    }


def trial_story(trial: Trial) -> dict[str, Any]:
    """Return everything that `gansearch show` tells of a trial."""
    decision = trial.decision
    best = trial.best
    return {
        **trial_row(trial),
        "reason": decision.reason if decision else None,
        "traceback": decision.traceback or None if decision else None,
        "scores": [{"step": s.result.stop, **s.result.scores} for s in trial.segments],
        "events": [e.model_dump(mode="json") for e in _events(trial)],
        "attempts": [{"worker": a.worker, "step": a.step} for a in trial.attempts],
        "losses": [{"cause": loss.cause, "detail": loss.detail} for loss in trial.losses],
        "artifacts": {
            "histories": [s.result.history for s in trial.segments],
            "samples": best.result.samples if best else None,
            "generator": best.result.generator if best else None,
            "checkpoint": trial.checkpoint[0] if trial.checkpoint else None,
        },
        "config": trial.spec.config.model_dump(mode="json"),
    }


def _events(trial: Trial) -> list[Any]:
    found = [event for segment in trial.segments for event in segment.result.events]
    return found if found or trial.event is None else [trial.event]
