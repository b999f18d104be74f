"""What a terminal shows; the only file that imports rich."""

from __future__ import annotations

import shlex
import shutil
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, TextIO

import yaml
from rich.box import SIMPLE
from rich.console import Console, ConsoleOptions, Group, RenderableType
from rich.live import Live
from rich.segment import Segment
from rich.table import Table
from rich.text import Text

from pipeline.book import Book, Trial
from pipeline.projection import events
from pipeline.records import TrialState
from pipeline.result import Result
from pipeline.safe_text import visible
from pipeline.story import having, story

PLAIN_EVERY = 10.0  # seconds between two lines where there is no terminal
NO_VALUE = "-"
WIDE, NARROW = 150, 110  # columns of a terminal that has room for all columns, and below which some are left out
LEFT_OUT = {"run_id", "device_seconds"}
CUT = {"run_id": 8, "event": 12}  # how wide these are where it is not wide
ENDLESS = 100_000  # columns where there is no terminal: one line a row, for grep and awk
HEADS = {"number": "trial", "device_seconds": "seconds"}  # what a column is called for a person, where its key is long


class _Plain(Console):
    """A console that obeys no control character but its own."""

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        for segment in super().render(renderable, options):
            yield segment if segment.control else segment._replace(text=visible(segment.text))


def _console(stream: TextIO, *, soft_wrap: bool = False) -> Console:
    """Return a console that shows text as it is: names and paths may look like markup or emoji codes."""
    return _Plain(file=stream, highlight=False, markup=False, emoji=False, soft_wrap=soft_wrap)


def number(value: Any, digits: int = 4) -> str:
    """Return a value short enough for a table, a float with so many significant digits."""
    if value is None:
        return NO_VALUE
    return f"{value:.{digits}g}" if isinstance(value, float) else str(value)


def short_params(params: Mapping[str, Any], digits: int = 4) -> str:
    """Return parameters by the last part of their keys; the branch of a union comes first and without its key."""
    rest = [f"{key.rpartition('.')[2]}={number(value, digits)}" for key, value in params.items() if key != "space"]
    return " ".join([*([str(params["space"])] if "space" in params else []), *rest])


def headline(book: Book) -> str:
    """Return the study in one line: how many of its budget of trials are finished, and the best one."""
    counts = ", ".join(f"{count} {state}" for state, count in book.counts.items() if count)
    states = Counter(trial.state for trial in book.trials.values())
    waiting = {"under way": states[TrialState.RUNNING], "suspended": states[TrialState.SUSPENDED]}
    budget = book.config.get("trials", 0)
    of = f" of {budget}" if budget >= book.finished else ""  # a smaller budget than before is used up already
    told = [f"{book.finished}{of} finished ({counts or 'none'})", *(f"{n} {word}" for word, n in waiting.items() if n)]
    best = f"; best: trial {book.best.number}, {number(book.best.score)}" if book.best else ""
    return ", ".join(told) + best


class Progress:
    """A live table on a terminal, a plain line now and then elsewhere; always on stderr.

    Args:
        stream: where to show it.
    """

    def __init__(self, stream: TextIO = sys.stderr) -> None:
        self._console = _console(stream)
        self._live = Live(console=self._console, auto_refresh=False) if self._console.is_terminal else None
        self._drawing = False
        self._late = ""  # a line that came in the middle of a drawing
        self._told = (float("-inf"), -1)

    def __enter__(self) -> Progress:
        if self._live is not None:
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._live is not None:
            self._live.stop()

    def say(self, line: str) -> None:
        """Show one line; above the table, where there is one."""
        # Where rich wraps nothing, it does not know how many lines of a terminal the table takes.
        self._draw(lambda: self._console.print(line, soft_wrap=self._live is None))

    def say_at_once(self, line: str) -> None:
        """Show one line from the handler of a signal, which may come in the middle of a drawing: then after it."""
        if self._drawing:
            self._late = line
        else:
            self.say(line)

    def watch(self, book: Book) -> None:
        """Show how the study stands."""
        live = self._live
        if live is not None:
            self._draw(lambda: live.update(self._table(book), refresh=True))
            return
        told, finished = self._told
        now = time.monotonic()
        if finished != book.finished and now - told > PLAIN_EVERY:
            self._told = (now, book.finished)
            self.say(headline(book))

    def _draw(self, draw: Callable[[], None]) -> None:
        self._drawing = True
        try:
            draw()
        finally:
            self._drawing = False
        if self._late:
            line, self._late = self._late, ""
            self.say(line)

    def _table(self, book: Book) -> Group:
        table = Table(expand=False)
        for name in ("trial", "steps", "score", "parameters"):
            table.add_column(name)
        for trial in [t for t in book.trials.values() if not t.state.final][:20]:
            params = Text(short_params(trial.spec.params), no_wrap=True, overflow="ellipsis")
            table.add_row(str(trial.number), str(trial.steps), number(trial.score), params)
        return Group(Text(headline(book)), table)


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
    stopped, goes_on = ("", "") if result.finished else ("stopped; ", "; the same command goes on")
    console.print(f"study {name}: {stopped}{headline(book)}{goes_on}")
    steps = sum(trial.steps for trial in book.trials.values())
    console.print(f"{steps:,} steps in all; this command took {result.seconds:.0f} s")
    for kind, count in Counter(t.event.kind for t in book.trials.values() if t.event is not None).most_common():
        console.print(f"  {count} x {kind}")
    if best is not None:
        metric = book.study.metric if book.study else ""
        told = f"best: trial {best.number}, {metric} {number(best.score)}: {short_params(best.spec.params)}"
        console.print(told)
    if result.picture is not None:
        console.print(f"its samples: {_from_here(result.picture)}")
    for name, records in result.lagging.items():
        console.print(f"{name} lags behind by {records} records; the same command brings it up to date")
    for command, does in _next_commands(result, options):
        console.print(f"  {command:<48} {does}")


def _from_here(path: Path) -> Path:
    """Return a path as one would type it here: relative where it lies below the current folder."""
    here = Path.cwd()
    return path.relative_to(here) if path.is_relative_to(here) else path


def _program() -> str:
    """Return what to type for this program: its name where the shell finds it, else the path that it was called by."""
    called = Path(sys.argv[0])
    return shlex.quote(sys.argv[0]) if called.name == "gansearch" and not shutil.which("gansearch") else "gansearch"


def _next_commands(result: Result, options: str) -> list[tuple[str, str]]:
    best, program = result.book.best, _program()
    if best is None:
        return [(f"{program} trials{options}", "see what became of each trial")]
    return [
        (f"{program} ui{options}", "review the runs"),
        (f"{program} register{options}", "give the best generator to the model registry"),
        (f"{program} rerun {best.number} --verify{options}", "train it again and compare every bit"),
    ]


def print_table(rows: Sequence[Mapping[str, Any]], out: TextIO, none: str | None = None) -> None:
    """Print rows of equal keys as a table, or what there is to say where there are none.

    On a terminal sentences wrap and parameters are cropped; where it is narrow, they have fewer digits, and some
    columns are cut or left out. Elsewhere a row is one line, with all that it holds.
    """
    console = _console(out)
    if not rows:
        console.print(none or "nothing yet", markup=False)
        return
    if not console.is_terminal:
        console.width = ENDLESS
    table = Table(box=SIMPLE, padding=(0, 1, 0, 0), pad_edge=False)
    keys = [key for key in rows[0] if key not in LEFT_OUT or console.width >= NARROW]
    for key in keys:
        wraps = any(isinstance(row[key], Mapping) or " " in str(row[key]) for row in rows)
        widest = CUT.get(key) if console.width < WIDE else None
        overflow: Literal["fold", "ellipsis"] = "fold" if wraps else "ellipsis"
        table.add_column(HEADS.get(key, key), overflow=overflow, no_wrap=not wraps, max_width=widest)
    for row in rows:
        table.add_row(*(_cell(row[key], narrow=console.width < NARROW) for key in keys))
    console.print(table)


def _cell(value: Any, *, narrow: bool) -> str | Text:
    """Return a value of a table; parameters are one line, which takes what room the other columns leave."""
    if not isinstance(value, Mapping):
        return number(value)
    return Text(short_params(value, digits=2 if narrow else 4), no_wrap=True, overflow="ellipsis")


def print_registration(document: Mapping[str, Any], out: TextIO) -> None:
    """Print what `gansearch register` did: the gates, and the version."""
    print_table(document["gates"], out)
    version = document["version"]
    told = "nothing is registered" if version is None else f"version {version} @{document['alias']}"
    _console(out, soft_wrap=True).print(f"{document['model']}: {told}")


def print_yaml(value: Any, out: TextIO) -> None:
    """Print nested values as YAML."""
    yaml.safe_dump(value, out, sort_keys=False, allow_unicode=True)


def print_story(book: Book, trial: Trial, document: Mapping[str, Any], out: TextIO) -> None:
    """Print the story of a trial in a few lines, and then all that there is of it as YAML."""
    for line in story(trial, book.begun.metric):
        _console(out, soft_wrap=True).print(line)
    out.write("\n")
    print_yaml(document, out)


def trial_rows(trials: Iterable[Trial], event: str | None) -> list[dict[str, Any]]:
    """Return the rows of `gansearch trials`; with a kind of event only of those that had it, and at which step first.

    Raises:
        ConfigError: there is no such kind.
    """
    if event is None:
        return [trial_row(trial) for trial in trials]
    return [trial_row(trial) | {"had": e.kind, "had_step": e.step} for trial, e in having(trials, event)]


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
        "best_step": best.result.stop if best else None,
        "traceback": decision.traceback or None if decision else None,
        "scores": [{"step": s.result.stop, **s.result.scores} for s in trial.segments],
        "events": [e.model_dump(mode="json") for e in events(trial)],
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
