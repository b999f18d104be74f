"""What is shown is what there is: names are no markup, and rows have the keys of the contract."""

import io
import json
import os
import pty
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from rich.console import Console
from typer.testing import CliRunner

from pipeline import view
from pipeline.cli import app
from pipeline.records import TrialState
from pipeline.result import Result
from tests.fakes import journal, shown
from tests.fakes.memory_store import MemoryStore

ROW = ("number", "state", "score", "steps", "device_seconds", "event", "run_id", "params")
NASTY = "[red]x[/red] :warning: [/nope] [bold"
ESCAPE = "\x1b"
HEADLINE = "2 of 3 finished (1 completed, 1 diverged, 1 failed), 1 under way; best: trial 0, 5"


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.fixture(autouse=True)
def environment(monkeypatch):
    for name in ("NO_COLOR", "FORCE_COLOR", "TTY_COMPATIBLE", "COLUMNS", "LINES"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm-256color")


@pytest.fixture
def book():
    return some_book()


def some_book():
    store = MemoryStore()
    trials = [
        shown.trial(store, 0, TrialState.COMPLETED, score=5.0),
        shown.trial(store, 1, TrialState.DIVERGED, score=7.0),
        shown.trial(store, 2, TrialState.FAILED, segments=1),
        shown.trial(store, 3, None, score=6.0),
    ]
    return shown.book_of([shown.study(store), *(record for trial in trials for record in trial)])


def result(book, **changes):
    facts = {"finished": True, "trained": True, "seconds": 61.4, "lagging": {}, "tracking_uri": "sqlite://"}
    return Result(**{"book": book, "picture": None} | facts | changes)


def printed(*args, options=" --store elsewhere", **changes):
    out = io.StringIO()
    view.print_result(result(*args, **changes), out, options)
    return out.getvalue()


def table(rows, stream=None):
    stream = stream or io.StringIO()
    view.print_table(rows, stream)
    return stream.getvalue()


# -- text stays text ---------------------------------------------------------------------------------------------------


def test_a_cell_is_shown_as_it_is(monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    text = table([{"[b]name[/b]": NASTY, "params": {"x.word": NASTY}}])
    assert "[b]name[/b]" in text
    assert text.count(NASTY) == 2


def test_a_line_is_shown_as_it_is():
    stream = io.StringIO()
    view.Progress(stream).say(NASTY)
    assert stream.getvalue() == f"{NASTY}\n"


def test_a_long_line_is_not_broken():
    stream = io.StringIO()
    view.Progress(stream).say("word " * 60)
    assert stream.getvalue().count("\n") == 1


def test_names_in_a_result_are_shown_as_they_are(book):
    named = book.study.model_copy(update={"study": NASTY, "metric": NASTY})
    book.study = named
    text = printed(book, picture=Path("/tmp/[red]x[/red].png"))
    assert f"study {NASTY}: " in text
    assert f"best: trial 0, {NASTY} 5" in text
    assert "/tmp/[red]x[/red].png" in text


def test_names_in_a_live_table_are_shown_as_they_are(book):
    spec = book.trials[3].spec
    book.trials[3].spec = spec.model_copy(update={"params": {"space": NASTY, "x": 1}})
    assert NASTY in live(book)


# -- on a terminal and elsewhere ---------------------------------------------------------------------------------------


def live(book):
    stream = Terminal()
    with view.Progress(stream) as progress:
        progress._console.width = 150
        progress.watch(book)
        progress.watch(book)
    return stream.getvalue()


def screen(text):
    """What a terminal shows in the end of a text with the control codes that rich's Live uses."""
    lines, row = [""], 0
    for code, plain in re.findall(r"(\x1b\[[0-9;?]*[a-zA-Z]|\r|\n)|([^\x1b\r\n]+)", text):
        if code == "\n":
            row += 1
            lines += [""] * (row + 1 - len(lines))
        elif code.endswith("A"):
            row -= int(code[2:-1] or 1)
            assert row >= 0
        elif code == f"{ESCAPE}[2K":
            lines[row] = ""
        elif plain:
            lines[row] += plain
    return [line.rstrip() for line in lines]


class InTheMiddle(Terminal):
    """A terminal on which a signal comes while something is written."""

    def __init__(self, handler):
        super().__init__()
        self.handler = handler

    def write(self, text):
        written = super().write(text)
        if "trial" in text and self.handler is not None:
            handler, self.handler = self.handler, None
            handler()
        return written


def test_a_terminal_has_a_live_table_of_what_is_under_way(book):
    shown_text = live(book)
    assert ESCAPE in shown_text
    text = " ".join(re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", shown_text).split())
    assert f"{HEADLINE} " in text
    assert re.search(r"3 .* 100 .* 6 .* wgan_gp lr_d=0.0002 lambda=9.1", text)


def test_elsewhere_there_are_plain_lines_now_and_then(book):
    stream = io.StringIO()
    with view.Progress(stream) as progress:
        for _ in range(5):
            progress.watch(book)
    assert stream.getvalue() == f"{HEADLINE}\n"


def test_what_is_said_at_once_stays_above_the_table(monkeypatch, book):
    monkeypatch.setenv("COLUMNS", "120")
    stream = Terminal()
    with view.Progress(stream) as progress:
        progress.say_at_once("before it")
        progress.watch(book)
        progress.say_at_once("stopping: so it is")
        for _ in range(3):
            progress.watch(book)
    lines = screen(stream.getvalue())
    assert lines[:3] == ["before it", "stopping: so it is", HEADLINE]
    assert sum(line.startswith("┏") for line in lines) == 1, lines


def test_what_is_said_in_the_middle_of_a_drawing_comes_after_it(monkeypatch, book):
    monkeypatch.setenv("COLUMNS", "120")
    stream = InTheMiddle(lambda: progress.say_at_once("stopping: so it is"))
    with view.Progress(stream) as progress:
        for _ in range(3):
            progress.watch(book)
    assert stream.handler is None, "nothing was drawn"
    lines = screen(stream.getvalue())
    assert lines[:2] == ["stopping: so it is", HEADLINE]
    assert sum(line.startswith("┏") for line in lines) == 1, lines


ENDING = """
import os, signal
from pipeline import signals, view
from tests.pipeline.test_view import some_book
book = some_book()
with view.Progress() as progress:
    stop = signals.StopRequest(progress.say_at_once)
    progress.watch(book)
    os.kill(os.getpid(), signal.SIGINT)
    while not stop.made:
        pass
    for _ in range(3):
        progress.watch(book)
"""


def test_after_ctrl_c_a_terminal_keeps_saying_that_the_search_stops():
    ours, theirs = pty.openpty()
    env = os.environ | {"COLUMNS": "90", "LINES": "30", "PYTHONPATH": str(Path(__file__).parents[2])}
    with subprocess.Popen([sys.executable, "-c", ENDING], stdout=theirs, stderr=theirs, env=env) as process:
        os.close(theirs)
        text = b""
        while True:
            try:
                got = os.read(ours, 65536)
            except OSError:  # so Linux says that the other side is closed
                break
            if not got:
                break
            text += got
    os.close(ours)
    assert process.returncode == 0, text.decode()
    lines = screen(text.decode().replace("\r\n", "\n"))
    assert lines[0].startswith("stopping: what is being trained is kept")
    assert lines[1] == HEADLINE
    assert sum(line.startswith("┏") for line in lines) == 1, lines


def test_what_is_said_at_once_is_a_line_elsewhere():
    stream = io.StringIO()
    with view.Progress(stream) as progress:
        progress.say_at_once("stopping")
        assert stream.getvalue() == "stopping\n"


def test_a_study_without_a_trial_has_a_headline_too():
    assert view.headline(shown.book_of([shown.study(MemoryStore())])) == "0 of 3 finished (none)"


def test_a_budget_that_is_smaller_than_what_is_finished_is_not_told():
    store = MemoryStore()
    trials = [record for number in (0, 1) for record in shown.trial(store, number)]
    book = shown.book_of([shown.study(store, trials=1), *trials])
    assert view.headline(book) == "2 finished (2 completed); best: trial 0, 5"


def rows_of(book, **params):
    """Rows as long as those of a real search."""
    more = {"optim.lr_g": 0.0010821234, "optim.beta1": 0.322412345, "n_critic": 1, **params}
    rows = [view.trial_row(trial) for trial in book.trials.values()]
    return [row | {"run_id": f"{row['number']}" * 32, "params": row["params"] | more} for row in rows]


def test_without_a_terminal_a_trial_is_one_line_with_all_of_it(book):
    rows = rows_of(book, **{f"network.key_{i}": 0.123456 for i in range(40)})
    text = table(rows)
    assert ESCAPE not in text
    lines = [line.rstrip() for line in text.splitlines() if line.strip()]
    assert len(lines) == 2 + len(rows)  # a head and a rule
    for row, line in zip(rows, lines[2:], strict=True):
        assert line.split()[:2] == [str(row["number"]), row["state"]]
        assert row["run_id"] in line
        assert line.endswith(view.short_params(row["params"]))


@pytest.mark.parametrize(("columns", "run_id"), [(80, 0), (120, 7), (250, 32)])
def test_on_a_terminal_a_trial_is_one_line_and_parameters_are_cropped(monkeypatch, book, columns, run_id):
    monkeypatch.setenv("COLUMNS", str(columns))
    rows = rows_of(book)
    text = re.sub(r"\x1b\[[0-9;]*m", "", table(rows, Terminal()))
    lines = [line.rstrip() for line in text.splitlines() if line.strip()]
    assert max(map(len, lines)) <= columns
    assert len(lines) == 2 + len(rows)
    for row, line in zip(rows, lines[2:], strict=True):
        assert line.split()[:2] == [str(row["number"]), row["state"]]
        assert re.search(rf"(?<!\d){row['number']}{{{run_id}}}(?!\d)", line) or run_id == 0
        found = re.search(r"wgan_gp.*", line)
        assert found is not None
        assert view.short_params(row["params"], digits=2 if columns == 80 else 4).startswith(found[0].rstrip("…"))
        assert found[0].endswith("…") == (columns < 200)
        assert len(found[0]) >= 30
    assert ("run_id" in text) == (run_id > 0)


def test_a_sentence_wraps_on_a_terminal_and_is_one_line_elsewhere(monkeypatch):
    monkeypatch.setenv("COLUMNS", "60")
    rows = [{"name": "x", "summary": "word " * 30}]
    assert table(rows, Terminal()).count("word") == 30
    assert max(len(line) for line in table(rows, Terminal()).splitlines() if ESCAPE not in line) <= 60
    assert ("word " * 30).strip() in table(rows)


def test_no_color_is_honoured(monkeypatch):
    coloured = re.compile(r"\x1b\[[0-9;]*3[0-9]")
    assert coloured.search(shown_in_red())  # the terminal of this test does show colours
    monkeypatch.setenv("NO_COLOR", "1")
    assert not coloured.search(shown_in_red())


def shown_in_red():
    stream = Terminal()
    view._console(stream).print("x", style="red")
    return stream.getvalue()


def test_every_console_is_made_in_one_place():
    source = Path(view.__file__).read_text()
    assert len(re.findall(r"\b(?:Console|_Plain)\(", source)) == 2  # its class, and the one that is made
    assert isinstance(view._console(io.StringIO()), Console)


@pytest.mark.parametrize(
    ("command", "brackets"),
    [
        ("trials", ["[./gansearch-store]", "[the only one]", "[the store's own SQLite file]"]),
        ("register", ["[the best]", "[the study's name]"]),
        ("search", ["[Ray starts here]"]),
    ],
)
def test_help_shows_what_is_in_brackets(command, brackets):
    told = " ".join(CliRunner().invoke(app, [command, "--help"], env={"COLUMNS": "80"}).output.split())
    assert [bracket for bracket in brackets if bracket not in told] == []


def test_a_table_of_nothing_says_so():
    assert table([]) == "nothing yet\n"


@pytest.mark.parametrize(
    ("value", "text"), [(None, "-"), (0.000123456, "0.0001235"), (5, "5"), ("name", "name"), (True, "True")]
)
def test_numbers_are_short(value, text):
    assert view.number(value) == text


def test_parameters_are_short_and_the_branch_comes_first():
    params = {"optim.lr_d": 5e-05, "n_critic": 5, "space": "gan"}
    assert view.short_params(params) == "gan lr_d=5e-05 n_critic=5"


# -- rows and stories --------------------------------------------------------------------------------------------------


def test_a_row_has_the_keys_of_the_contract(book):
    for trial in book.trials.values():
        assert tuple(view.trial_row(trial)) == ROW
        json.dumps(view.trial_row(trial), allow_nan=False)


def test_a_row_tells_the_trial(book):
    book.apply(journal.run(1, "run-1"))
    assert view.trial_row(book.trials[1]) == {
        "number": 1,
        "state": "diverged",
        "score": 7.0,
        "steps": 100,
        "device_seconds": 3.0,
        "event": "exploding_gradient",
        "run_id": "run-1",
        "params": {"space": "wgan_gp", "optim.lr_d": 2e-4, "penalty.lambda": 9.1},
    }


def test_a_story_tells_everything(book):
    story = view.trial_story(book.trials[1])
    assert tuple(story)[: len(ROW)] == ROW
    assert story["reason"] == "it is diverged"
    assert story["best_step"] == 100
    assert [row["step"] for row in story["scores"]] == [50, 100]
    assert [event["kind"] for event in story["events"]] == ["exploding_gradient"]
    assert story["events"][0]["evidence"] == {"grad_norm_d": "inf", "threshold": 100.0}
    assert story["artifacts"]["generator"] == book.trials[1].best.result.generator
    assert story["config"]["network"]["width"] == 16
    assert view.trial_story(book.trials[2])["traceback"] == "Traceback: boom"
    json.dumps(story, allow_nan=False)


def test_a_story_of_a_refused_trial_has_its_event():
    refused = journal.decision(0, TrialState.DIVERGED, event=shown.EVENT)
    book = shown.book_of([journal.study(), journal.trial(0), refused])
    assert [event["kind"] for event in view.trial_story(book.trials[0])["events"]] == ["exploding_gradient"]


def test_a_story_is_printed_as_yaml_that_reads_back(book):
    out = io.StringIO()
    story = view.trial_story(book.trials[1])
    view.print_yaml(story, out)
    assert yaml.safe_load(out.getvalue()) == story


# -- the end of a search -----------------------------------------------------------------------------------------------


def test_the_end_names_the_best_trial_and_what_to_type_next(book):
    lines = printed(book).splitlines()
    assert lines[:4] == [
        f"study digits: {HEADLINE}",
        "350 steps in all; this command took 61 s",
        "  1 x exploding_gradient",
        "best: trial 0, frechet_1a2b3c4d 5: wgan_gp lr_d=0.0002 lambda=9.1",
    ]
    commands = [line.strip().split("  ")[0] for line in lines[4:]]
    assert commands == [
        "gansearch ui --store elsewhere",
        "gansearch register --store elsewhere",
        "gansearch rerun 0 --verify --store elsewhere",
    ]


def test_rows_of_trials_that_had_an_event_keep_what_ended_them():
    store = MemoryStore()
    records = shown.trial(store, 0, TrialState.DIVERGED)
    book = shown.book_of([shown.study(store), *records])
    (segment, *_) = book.trials[0].segments
    warned = shown.EVENT.model_copy(update={"kind": "oscillation", "step": 9, "action": "warn"})
    told = segment.result.model_copy(update={"events": (warned,)})
    book.trials[0].segments[0] = segment.model_copy(update={"result": told})
    (row,) = view.trial_rows(book.trials.values(), "oscillation")
    assert (row["event"], row["had"], row["had_step"]) == ("exploding_gradient", "oscillation", 9)
    assert view.trial_rows(book.trials.values(), "memorisation") == []
    assert "had" not in view.trial_rows(book.trials.values(), None)[0]


def test_a_table_without_rows_says_why():
    out = io.StringIO()
    view.print_table([], out, "no trial had memorisation")
    assert out.getvalue() == "no trial had memorisation\n"


def test_an_end_before_the_budget_says_so_and_how_to_go_on():
    store = MemoryStore()
    trials = [record for number in (0, 1) for record in shown.trial(store, number, TrialState.SUSPENDED)]
    text = printed(shown.book_of([shown.study(store), *trials]), finished=False)
    assert text.splitlines()[0] == (
        "study digits: stopped; 0 of 3 finished (none), 2 suspended; the same command goes on"
    )


@pytest.mark.parametrize(
    ("on_path", "called", "typed"),
    [
        (True, ".venv/bin/gansearch", "gansearch"),
        (False, ".venv/bin/gansearch", ".venv/bin/gansearch"),
        (False, "/a b/bin/gansearch", "'/a b/bin/gansearch'"),
        (False, "pipeline/cli.py", "gansearch"),
    ],
)
def test_the_next_commands_work_as_they_are_printed(monkeypatch, tmp_path, book, on_path, called, typed):
    program = tmp_path / "gansearch"
    program.touch(mode=0o755)
    monkeypatch.setenv("PATH", str(tmp_path if on_path else tmp_path / "elsewhere"))
    monkeypatch.setattr(sys, "argv", [called])
    assert f"  {typed} register  " in printed(book, options="")


def test_the_picture_is_named_as_one_would_type_it_here(monkeypatch, tmp_path, book):
    monkeypatch.chdir(tmp_path)
    assert "its samples: store/best.png\n" in printed(book, picture=tmp_path / "store" / "best.png")
    assert "its samples: /elsewhere/best.png\n" in printed(book, picture=Path("/elsewhere/best.png"))


def test_the_end_without_a_completed_trial_points_to_the_trials():
    book = shown.book_of([shown.study(MemoryStore()), *shown.trial(MemoryStore(), 0, TrialState.DIVERGED)])
    assert printed(book, options="").splitlines()[-1].split("  ")[1] == "gansearch trials"


def test_the_end_says_that_nothing_was_trained_and_what_mlflow_lacks(book):
    text = printed(book, trained=False, lagging={"MLflow": 3})
    assert text.startswith("study digits is finished already; nothing was trained (a larger --trials goes on)\n")
    assert "MLflow lags behind by 3 records; the same command brings it up to date\n" in text


def test_the_end_names_what_lags_behind(book):
    text = printed(book, lagging={"Optuna's database": 5})
    assert "Optuna's database lags behind by 5 records" in text
    assert "MLflow" not in text
    assert result(book, lagging={"MLflow": 3, "Optuna's database": 5}).document()["unsynced"] == 5


def test_the_document_of_a_search_has_the_keys_of_the_contract(book):
    document = result(book).document()
    assert tuple(document) == (
        "schema", "study", "trials", "best", "steps", "seconds", "unsynced", "tracking_uri",
    )  # fmt: skip
    assert document["trials"] == {"completed": 1, "pruned": 0, "diverged": 1, "failed": 1}
    assert tuple(document["best"]) == ("trial", "run_id", "score", "metric", "params")
    assert document["steps"] == 350
    json.dumps(document, allow_nan=False)
