"""What is shown is what there is: names are no markup, and rows have the keys of the contract."""

import io
import json
import re
from pathlib import Path

import pytest
import yaml
from rich.console import Console

from pipeline import view
from pipeline.launch import Result
from pipeline.records import TrialState
from tests.fakes import journal, shown
from tests.fakes.memory_store import MemoryStore

ROW = ("number", "state", "score", "steps", "device_seconds", "event", "run_id", "params")
NASTY = "[red]x[/red] :warning: [/nope] [bold"
ESCAPE = "\x1b"


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
    store = MemoryStore()
    trials = [
        shown.trial(store, 0, TrialState.COMPLETED, score=5.0),
        shown.trial(store, 1, TrialState.DIVERGED, score=7.0),
        shown.trial(store, 2, TrialState.FAILED, segments=1),
        shown.trial(store, 3, None, score=6.0),
    ]
    return shown.book_of([shown.study(store), *(record for trial in trials for record in trial)])


def result(book, **changes):
    facts = {"finished": True, "trained": True, "seconds": 61.4, "unsynced": 0, "tracking_uri": "sqlite://"}
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
    text = live(book)
    assert NASTY in text


# -- on a terminal and elsewhere ---------------------------------------------------------------------------------------


def live(book):
    stream = Terminal()
    with view.Progress(stream, total=9) as progress:
        progress._console.width = 150
        progress.watch(book)
        progress.watch(book)
    return stream.getvalue()


def test_a_terminal_has_a_live_table_of_what_is_under_way(book):
    shown_text = live(book)
    assert ESCAPE in shown_text
    text = " ".join(re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", shown_text).split())
    assert "2 finished (1 completed, 1 diverged, 1 failed), 1 under way; best: trial 0, 5 of 9" in text
    assert re.search(r"3 .* 100 .* 6 .* wgan_gp lr_d=0.0002 lambda=9.1", text)


def test_elsewhere_there_are_plain_lines_now_and_then(book):
    stream = io.StringIO()
    with view.Progress(stream, total=9) as progress:
        for _ in range(5):
            progress.watch(book)
    assert stream.getvalue() == ("2 finished (1 completed, 1 diverged, 1 failed), 1 under way; best: trial 0, 5 of 9\n")


def test_a_study_without_a_trial_has_a_headline_too():
    book = shown.book_of([shown.study(MemoryStore())])
    assert view.headline(book) == "0 finished (none), 0 under way; no completed trial yet"


def test_without_a_terminal_a_table_has_no_escape_codes(book):
    text = table([view.trial_row(trial) for trial in book.trials.values()])
    assert ESCAPE not in text
    assert all(len(line) <= 80 for line in text.splitlines())


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
    assert len(re.findall(r"\bConsole\(", source)) == 1
    assert isinstance(view._console(io.StringIO()), Console)


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
    assert lines[0] == (
        "study digits: 2 finished (1 completed, 1 diverged, 1 failed), 1 under way; best: trial 0, 5; 350 steps, 61 s"
    )
    assert lines[1] == "  1 x exploding_gradient"
    assert lines[2] == "best: trial 0, frechet_1a2b3c4d 5: wgan_gp lr_d=0.0002 lambda=9.1"
    commands = [line.strip().split("  ")[0] for line in lines[3:]]
    assert commands == [
        "gansearch ui --store elsewhere",
        "gansearch register --store elsewhere",
        "gansearch rerun 0 --verify --store elsewhere",
    ]


def test_the_end_without_a_completed_trial_points_to_the_trials():
    book = shown.book_of([shown.study(MemoryStore()), *shown.trial(MemoryStore(), 0, TrialState.DIVERGED)])
    assert printed(book, options="").splitlines()[-1].split("  ")[1] == "gansearch trials"


def test_the_end_says_that_nothing_was_trained_and_what_mlflow_lacks(book):
    text = printed(book, trained=False, unsynced=3)
    assert text.startswith("study digits is finished already; nothing was trained (a larger --trials goes on)\n")
    assert "MLflow lags behind by 3 records" in text


def test_the_document_of_a_search_has_the_keys_of_the_contract(book):
    document = result(book).document()
    assert tuple(document) == (
        "schema", "study", "trials", "best", "steps", "seconds", "unsynced", "tracking_uri",
    )  # fmt: skip
    assert document["trials"] == {"completed": 1, "pruned": 0, "diverged": 1, "failed": 1}
    assert tuple(document["best"]) == ("trial", "run_id", "score", "metric", "params")
    assert document["steps"] == 350
    json.dumps(document, allow_nan=False)
