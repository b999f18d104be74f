"""Names are held to an allow-list wherever they enter; text that is shown acts on no terminal and on no page."""

import io
import math
import subprocess
import sys
import time

import pytest

from pipeline import projection, registry, view
from pipeline.config import load
from pipeline.journal import Place, record_name, with_digest
from pipeline.ledger import Ledger, read_book, study_names
from pipeline.projection import METRIC, NOTE, SCORE, ModelVersion
from pipeline.records import RECORD, Record, TrialState
from pipeline.safe_text import holds_secret, in_markdown, redact, visible
from pipeline.store import open_store
from tests.command_line import environment
from tests.fakes import journal, shown
from tests.fakes.memory_store import MemoryStore
from trainers.errors import ConfigError, IntegrityError, NotImportable

ESCAPE, OPENER = "\x1b", "\x9b"  # what begins a terminal's sequences, in seven and in eight bits
ACTS = f"[red]{ESCAPE}[31m{ESCAPE}]0;title\x07{OPENER}2J\u202e[link=http://x]y[/link]"
BAD = [
    "../up", "a/b", "..", ".hidden", "-rf", "", " ", "a b", "a\nb", "a\n", "a\x00b", f"a{ESCAPE}[31m", "a'b", "a`b",
    "<script>", "%2e%2e", "[red]", "na\u0131ve", "\N{SKULL}", "a" * 129, "a" * 10_000,
]  # fmt: skip


# -- names -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", BAD, ids=ascii)
def test_a_bad_study_is_refused_wherever_it_is_given(tmp_path, name):
    file = tmp_path / "f.yaml"
    quoted = "".join(char if char.isascii() and char.isalnum() else f"\\U{ord(char):08x}" for char in name)
    file.write_text(f'study: "{quoted}"\n')
    with pytest.raises(ConfigError, match="study"):
        load(file)
    with pytest.raises(ConfigError, match="study"):
        load(None, [], {"study": name})
    with pytest.raises(ConfigError):
        load(None, [f'study="{quoted}"'])


@pytest.mark.parametrize("name", [name for name in BAD if name not in (".hidden", "-rf", "a" * 129)], ids=ascii)
def test_a_bad_study_reaches_no_store(tmp_path, name):
    store = open_store(tmp_path / "store")
    with pytest.raises(ConfigError):
        Ledger.open(store, name)
    with pytest.raises(ConfigError):
        read_book(store, name)
    assert [path for path in tmp_path.rglob("*") if path.name not in ("store", "blobs", "locks", "studies")] == []


@pytest.mark.parametrize("name", BAD, ids=ascii)
def test_a_bad_model_or_alias_is_refused_before_anything_is_asked(name):
    book, facts = shown.book_of([shown.study(MemoryStore())]), {"dry_run": True}
    with pytest.raises(ConfigError, match="--name"):
        registry.register(None, book, MemoryStore(), None, name=name, alias="champion", **facts)
    with pytest.raises(ConfigError, match="--alias"):
        registry.register(None, book, MemoryStore(), None, name="gan", alias=name, **facts)


TAMPERED: list[Record] = [
    *(journal.study().model_copy(update={key: f"x' or '{key}"}) for key in ("study", "uid")),
    journal.study().model_copy(update={"study": "../../up"}),
    journal.registration(0).model_copy(update={"model": "../up"}),
    journal.registration(0).model_copy(update={"alias": f"a{ESCAPE}[31m"}),
    journal.trial(0).model_copy(update={"spec": journal.trial(0).spec.model_copy(update={"key": "u' or '1"})}),
]


@pytest.mark.parametrize("record", TAMPERED, ids=lambda record: record.kind)
def test_a_journal_that_somebody_tampered_with_is_refused(record: Record):
    """Whoever may write to the store can seal what they write, too."""
    store = MemoryStore()
    store.create(record_name("digits", Place(1, 1)), with_digest(RECORD.dump_json(record, warnings=False) + b"\n"))
    with pytest.raises(IntegrityError, match="cannot be understood"):
        read_book(store, "digits")


def test_a_journal_that_names_a_module_that_is_not_here_is_not_called_corrupt():
    """It was written where the user's own variants were; the message says what to install."""
    store, line = MemoryStore(), RECORD.dump_json(journal.trial(0))
    named = line.replace(b'"digits"', b'"absent_module:MINE"')
    assert named != line
    store.create(record_name("digits", Place(1, 1)), with_digest(named + b"\n"))
    with pytest.raises(NotImportable, match=r"names what is not here: .*absent_module.*; install it, or run in"):
        read_book(store, "digits")


def test_a_folder_that_is_no_study_is_none(tmp_path):
    store = open_store(tmp_path)
    for folder in (f"x{ESCAPE}[31m", "a b"):
        path = tmp_path / "studies" / folder / "journal" / "000001-00000001.jsonl"
        path.parent.mkdir(parents=True)
        path.write_bytes(with_digest(b""))
    assert study_names(store) == []


@pytest.mark.parametrize("score", ["much", "", f"{ESCAPE}[31m5"])
def test_a_score_in_mlflow_that_somebody_tampered_with_lets_nothing_in(score):
    study, trial = journal.study(), shown.book_of([journal.study(), journal.trial(0)]).trials[0]
    gate = registry.better_gate(study, trial, ModelVersion(version=1, tags={METRIC: study.metric, SCORE: score}))
    assert gate["passed"] is False
    assert "is no number" in gate["detail"]
    assert ESCAPE not in gate["detail"]


# -- a terminal --------------------------------------------------------------------------------------------------------


def obeyed(text):
    """What a terminal would obey."""
    return [char for char in (ESCAPE, OPENER, "\x07", "\u202e") if char in text]


def tampered_book():
    store = MemoryStore()
    trials = [record for number in (0, 1, 2) for record in shown.trial(store, number)]
    records = [shown.study(store), *trials, *shown.trial(store, 3, TrialState.FAILED), *shown.trial(store, 4, None)]
    book = shown.book_of(records)
    for trial in book.trials.values():
        trial.spec = trial.spec.model_copy(update={"params": {"space": ACTS, "x.y": ACTS}})
        if trial.decision is not None:
            event = shown.EVENT.model_copy(update={"kind": ACTS, "message": ACTS})
            trial.decision = trial.decision.model_copy(update={"reason": ACTS, "traceback": ACTS, "event": event})
    return book


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_what_is_shown_is_not_obeyed(tmp_path):
    book, out = tampered_book(), io.StringIO()
    rows = [view.trial_row(trial) | {"event": ACTS, ACTS: ACTS} for trial in book.trials.values()]
    view.print_table(rows, out)
    facts = {"finished": True, "trained": True, "seconds": 1.0, "lagging": {}, "tracking_uri": "sqlite://"}
    view.print_result(
        view.Result(book=book, picture=tmp_path / ACTS.replace("/", ""), **facts), out, f" --store {ACTS}"
    )
    view.print_registration({"gates": [{"gate": "x", "detail": ACTS}], "version": 1, "model": ACTS, "alias": ACTS}, out)
    progress = view.Progress(out)
    progress.say(ACTS)
    progress.watch(book)
    assert obeyed(out.getvalue()) == []
    # rich leaves a bell out by itself
    assert out.getvalue().count("[red]\\x1b[31m\\x1b]0;title\\x9b2J\\u202e[link=http://x]y[/link]") > 10


def test_what_is_shown_in_a_live_table_is_not_obeyed(monkeypatch):
    for name, value in {"TERM": "xterm-256color", "COLUMNS": "200"}.items():
        monkeypatch.setenv(name, value)
    stream = Terminal()
    with view.Progress(stream) as progress:
        progress.watch(tampered_book())
        progress.say(ACTS)
    text = stream.getvalue()
    assert ESCAPE in text, "the table itself moves the cursor"
    assert [part for part in (f"{ESCAPE}[31m", f"{ESCAPE}]0;", OPENER, "\x07", "\u202e") if part in text] == []


def test_a_story_is_not_obeyed():
    out = io.StringIO()
    view.print_yaml(view.trial_story(tampered_book().trials[3]), out)
    assert [char for char in obeyed(out.getvalue()) if char != "\u202e"] == []


def test_an_error_is_not_obeyed(tmp_path):
    (tmp_path / "f.yaml").write_text('steps: "\\e[31m\\e]0;title\\a"\n')
    done = subprocess.run(
        [sys.executable, "-m", "pipeline.cli", "config", "validate", "f.yaml"],
        cwd=tmp_path, env=environment(tmp_path), capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 2
    assert obeyed(done.stderr) == []
    assert "steps=\\x1b[31m\\x1b]0;title\\x07" in done.stderr


@pytest.mark.parametrize("text", ["plain", "two\nlines\tand a tab", "d\u00e9j\u00e0 vu \N{SNOWMAN}", ""])
def test_harmless_text_is_shown_as_it_is(text):
    assert visible(text) == text


# -- a page ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("<script>x</script>", "&lt;script&gt;x&lt;/script&gt;"),
        ("&lt;b>", "&amp;lt;b&gt;"),
        ("![x](http://y)", "!\\[x\\](http://y)"),
        ("[x](javascript:y)", "\\[x\\](javascript:y)"),
        ("\\[x](y)", "\\\\\\[x\\](y)"),
        ("a | b", "a \\| b"),
        ("`x", "\\`x"),
        ("lr_d=2e-4 lambda=9.1", "lr_d=2e-4 lambda=9.1"),
    ],
)
def test_markdown_shows_text_as_it_is(text, written):
    assert in_markdown(text) == written


def test_notes_hold_no_markup_of_a_users():
    markup = "<img src=x onerror=y><iframe src=//z>[a](javascript:b)![c](http://d)|e"
    book = tampered_book()
    for trial in book.trials.values():
        trial.spec = trial.spec.model_copy(update={"params": {"space": markup, "x": markup}})
        if trial.decision is not None:
            trial.decision = trial.decision.model_copy(
                update={"reason": markup, "event": shown.EVENT.model_copy(update={"message": markup})}
            )
    book.study = book.study.model_copy(update={"metric": markup})
    notes = [projection.study_note(book, "finished"), projection.version_note(book, book.trials[0])]
    notes += [projection.trial_tags(book, trial)[NOTE] for trial in book.trials.values() if trial.decision is not None]
    assert len(notes) == 6
    for note in notes:
        assert "&lt;img" in note
        assert "<" not in note
        assert "\\[a\\](" in note
        assert "|e" not in note.replace("\\|", "")


# -- secrets -----------------------------------------------------------------------------------------------------------

SECRET = "hunter2"


@pytest.mark.parametrize(
    "uri",
    [
        f"http://me:{SECRET}@host:5000/x",
        f"https://{SECRET}@host",
        f"postgresql+psycopg2://me:{SECRET}@host/db",
        f"postgresql://me:a/{SECRET}@host/db",
        f"postgresql://me:a@{SECRET}@host/db",
        f"postgresql://:{SECRET}@host/db",
        f"postgresql://host/db?user=me&password={SECRET}",
        f"mysql://host/db?ssl=1&passwd={SECRET}&x=1",
        f"http://host:5000/x?access_token={SECRET}",
    ],
)
@pytest.mark.parametrize("key", ["tracking_uri", "study_storage", "store"])
def test_a_uri_that_is_kept_may_hold_no_password_and_the_refusal_does_not_tell_it(tmp_path, key, uri):
    (tmp_path / "f.yaml").write_text(f"{key}: '{uri}'\n")
    for given in ((tmp_path / "f.yaml", [], {}), (None, [f"{key}={uri}"], {}), (None, [], {key: uri})):
        with pytest.raises(ConfigError) as caught:
            load(*given)
        assert f"{key} must not hold a password" in str(caught.value)
        assert SECRET not in str(caught.value)
    assert SECRET not in redact(f"it failed: '{uri}' cannot be reached")
    assert redact({"a": [uri]}) == {"a": [redact(uri)]}


@pytest.mark.parametrize("sets", [f"stpes=http://me:{SECRET}@host", f"trials=http://me:{SECRET}@host", "--"])
def test_no_other_refusal_tells_it_either(sets):
    with pytest.raises(ConfigError) as caught:
        load(None, [sets, f"=http://me:{SECRET}@host"])
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize(
    "uri",
    [
        "http://host:5000", "http://host:5000/a@b", "sqlite:////data/mlflow.db", "postgresql://me@host:5432/db",
        "postgresql://host/db?sslmode=require", "s3://bucket/prefix", "./gansearch-store", "/a/b@c:d",
    ],
)  # fmt: skip
def test_a_uri_without_a_password_is_none(uri):
    assert not holds_secret(uri)


# -- files that are traps ----------------------------------------------------------------------------------------------

MIB = 2**20
TRAPS = {
    "alias bomb": "a: &a [x, x]\n"
    + "".join(f"{b}: &{b} [*{a}, *{a}]\n" for a, b in zip("abcdefgh", "bcdefghi", strict=True)),
    "merge": "a: &a {x: 1}\nb: {<<: *a}\n",
    "duplicate": "steps: 1\nsteps: 2\n",
    "duplicate in a flow": "optim: {lr_d: 1, lr_d: 2}\n",
    "10 MiB": "# " + "x" * (10 * MIB),
    "as large as may be": "steps: " + "x " * 130_000,
    "deep": "[" * 100_000,
    "deep mappings": "{a: " * 50_000,
    "deep by indentation": "".join(f"{' ' * depth}a:\n" for depth in range(500)),
    "python tag": "a: !!python/object/apply:os.system ['touch canary']\n",
    "python name": "a: !!python/name:os.system\n",
    "many keys": "".join(f"k{number}: 1\n" for number in range(20_000)),
    "long keys with many values": f"? {'k' * 200_000}\n: [{'1,' * 9_000}]\n",
}


@pytest.mark.parametrize("text", TRAPS.values(), ids=TRAPS)
def test_a_trap_is_refused_in_less_than_a_second(tmp_path, monkeypatch, text):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "f.yaml").write_text(text)
    before = time.process_time()
    with pytest.raises(ConfigError) as caught:
        load(tmp_path / "f.yaml")
    assert time.process_time() - before < 1.0
    assert caught.value.exit_code == 2
    assert len(str(caught.value)) < 1000
    assert [path.name for path in tmp_path.iterdir()] == ["f.yaml"]


@pytest.mark.parametrize("value", ["nan", ".nan", "inf", "-.inf", "1e999", "true", "x", "[]", "{}", "''"])
def test_a_number_that_is_none_is_refused(value):
    with pytest.raises(ConfigError):
        load(None, [f"optim.lr_d={value}"])
    assert math.isfinite(load(None, ["optim.lr_d=1e-4"]).train["optim"]["lr_d"])
