"""A study in a database of Optuna's: each trial once, as Optuna's own `load_study` finds it, whatever died."""

from __future__ import annotations

import itertools
import os
import shutil
import socket
import subprocess
import warnings
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.trial import TrialState as State

from pipeline.book import Book
from pipeline.config import SearchConfig, train_config
from pipeline.optuna_storage import StudyStorage
from pipeline.projector import Projector
from pipeline.records import AttemptRecord, Record, TrialRecord, TrialSpec, TrialState
from pipeline.study import Sampler, distributions
from search_spaces import CLASSIC, defaults
from tests.fakes import journal
from tests.fakes.dies import Dies
from trainers.errors import ConfigError, StateConflict, Unreachable
from trainers.stability.events import Event

SEARCH = SearchConfig(study="digits")
ENDS: tuple[TrialState | None, ...] = (*(state for state in TrialState if state is not TrialState.RUNNING), None)
EXPLODED = Event(kind="exploding_gradient", step=7, severity=0.5, action="stop", evidence={}, message="too steep")

pytestmark = pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")


def asked(number: int, params: dict[str, Any], uid: str = "u") -> TrialRecord:
    config = train_config(SEARCH, params, number)
    return TrialRecord(at=2.0, spec=TrialSpec(number=number, key=f"{uid}/{number}", params=params, config=config))


def end(number: int, state: TrialState | None, score: float) -> Iterator[Record]:
    event = EXPLODED if state is TrialState.DIVERGED else None
    yield journal.attempt(number)
    yield journal.segment(number, 0, 0, 10, score + 1)
    yield journal.segment(number, 1, 10, 20, score, events=(event,) if event else ())
    if state is not None:
        yield journal.decision(number, state, event=event, score=score, best_index=1)


def study(*ends: TrialState | None, uid: str = "u", **config: Any) -> list[Record]:
    """Records of a study whose trials were asked for by a sampler."""
    sampler, book = Sampler(CLASSIC, seed=3, n_startup_trials=2, first=defaults(CLASSIC)), Book()
    search = SEARCH.model_copy(update=config).model_dump(mode="json")
    records: list[Record] = [journal.study(config=search, uid=uid)]
    book.apply(records[0])
    for number, state in enumerate(ends):
        params = sampler.ask(number, list(book.trials.values()))
        for record in (asked(number, params, uid), *end(number, state, float(number))):
            book.apply(record)
            records.append(record)
    return records


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path}/optuna.db"


def sync(records: list[Record], url: str, storage: StudyStorage | None = None) -> Projector:
    projector = Projector(records, storage or StudyStorage(url, "digits"))
    projector.show_now("suspended")
    return projector


def snapshot(url: str) -> list[tuple[Any, ...]]:
    """All that Optuna finds, but for the time at which it was told of an end."""
    loaded = optuna.load_study(study_name="digits", storage=url)
    return [
        (t.number, t.state, t.params, t.distributions, t.intermediate_values, t.constraints, t.values, t.user_attrs,
         t.datetime_start)
        for t in loaded.trials
    ]  # fmt: skip


def test_optuna_finds_each_trial_as_it_stands(url):
    records = study(*ENDS)
    assert sync(records, url).unsynced == 0
    loaded = optuna.load_study(study_name="digits", storage=url)
    stand = dict(zip(ENDS, loaded.trials, strict=True))
    assert {state: trial.state for state, trial in stand.items()} == {
        TrialState.SUSPENDED: State.RUNNING,
        TrialState.COMPLETED: State.COMPLETE,
        TrialState.PRUNED: State.PRUNED,
        TrialState.DIVERGED: State.PRUNED,
        TrialState.FAILED: State.FAIL,
        None: State.RUNNING,
    }
    specs = [record.spec for record in records if isinstance(record, TrialRecord)]
    for spec, trial in zip(specs, loaded.trials, strict=True):
        assert trial.params == spec.params
        assert trial.distributions == distributions(CLASSIC, spec.params)
        assert trial.user_attrs["gansearch.trial_key"] == spec.key
        assert trial.intermediate_values == {10: spec.number + 1.0, 20: float(spec.number)}
    assert stand[TrialState.DIVERGED].constraints == {"exploding_gradient": 0.5}
    assert (loaded.best_value, loaded.best_trial.number) == (1.0, 1)
    assert loaded.metric_names == ["frechet"]


def test_showing_again_changes_nothing(url, tmp_path):
    records = study(*ENDS)
    sync(records, url)
    before = (tmp_path / "optuna.db").read_bytes()
    sync(records, url)
    assert (tmp_path / "optuna.db").read_bytes() == before


def test_record_by_record_or_at_once_ends_the_same(url, tmp_path):
    records, book = study(*ENDS), Book()
    slow, fast = StudyStorage(url, "digits"), f"sqlite:///{tmp_path}/other.db"
    for record in records:
        book.apply(record)
        slow.show(book, getattr(record, "trial", record.spec.number if record.kind == "trial" else None), 2.0)
    sync(records, fast)
    assert snapshot(url) == snapshot(fast)


def test_a_trial_that_goes_on_is_brought_up_to_date(url):
    records = study(TrialState.SUSPENDED)
    sync(records, url)
    more = [AttemptRecord(at=9.0, trial=0, attempt=1, worker="w", step=20), journal.segment(0, 2, 20, 30, 0.25)]
    records += [*more, journal.decision(0, TrialState.COMPLETED, score=0.25, best_index=2)]
    sync(records, url)
    assert [
        (t.state, t.value, t.intermediate_values) for t in optuna.load_study(study_name="digits", storage=url).trials
    ] == [(State.COMPLETE, 0.25, {10: 1.0, 20: 0.0, 30: 0.25})]


WRITES = ("set_", "create_", "delete_")


def shown_in_two_steps(records: list[Record], storage: StudyStorage) -> None:
    """Show the trials as they run, and then as they end, so that everything is written on its own."""
    early, late = Book(), Book()
    for record in records:
        late.apply(record)
        if record.kind in ("study", "trial", "attempt"):
            early.apply(record)
    for book in (early, late):
        for number in book.trials:
            storage.show(book, number, 2.0)


@pytest.mark.slow
@pytest.mark.parametrize("after", [False, True])
def test_a_death_at_any_write_leaves_what_no_death_leaves(tmp_path, after):
    records = study(TrialState.COMPLETED, TrialState.DIVERGED, None)
    sync(records, f"sqlite:///{tmp_path}/whole.db")
    wanted = snapshot(f"sqlite:///{tmp_path}/whole.db")
    empty = StudyStorage(f"sqlite:///{tmp_path}/empty.db", "digits")
    empty.check()
    for number in itertools.count(1):
        url = f"sqlite:///{tmp_path}/death-{number}.db"
        shutil.copy(tmp_path / "empty.db", tmp_path / f"death-{number}.db")
        storage = StudyStorage(url, "digits")
        storage.__dict__["_storage"] = Dies(storage._storage, number, after=after, named=WRITES)
        try:
            shown_in_two_steps(records, storage)
            died = False
        except ConnectionResetError:
            died = True
        sync(records, url, storage if number % 2 else None)  # by the same process, or by the next one
        assert snapshot(url) == wanted, f"died {'after' if after else 'before'} write {number}"
        if not died:
            break
    assert number > 15


def test_a_trial_that_is_there_twice_makes_the_study_anew(url):
    records = study(TrialState.COMPLETED, TrialState.COMPLETED)
    sync(records, url)
    wanted = snapshot(url)
    loaded = optuna.load_study(study_name="digits", storage=url)
    loaded.add_trial(loaded.trials[0])
    sync(records, url)
    assert snapshot(url) == wanted


@pytest.mark.parametrize("attrs", [{}, {"gansearch.study_uid": "another"}])
def test_another_study_of_the_same_name_is_left_alone(url, attrs):
    theirs = optuna.create_study(study_name="digits", storage=url)
    theirs.add_trial(optuna.trial.create_trial(value=1.0))
    for key, value in attrs.items():
        theirs.set_user_attr(key, value)
    records, book = study(TrialState.COMPLETED), Book()
    for record in records:
        book.apply(record)
    projector = sync(records, url)
    assert "has another study of the name 'digits'" in projector.failure
    assert len(optuna.load_study(study_name="digits", storage=url).trials) == 1
    with pytest.raises(StateConflict):
        StudyStorage(url, "digits").finish(book, "finished")


def test_a_trial_outside_a_changed_space_is_shown_without_its_parameters(url):
    records = study(TrialState.COMPLETED, train={"optim": {"lr_d": 1e-4}})
    sync(records, url)
    (trial,) = optuna.load_study(study_name="digits", storage=url).trials
    assert (trial.params, trial.value) == ({}, 0.0)
    assert '"optim.lr_d"' in trial.user_attrs["gansearch.params"]


def test_choices_that_differ_between_branches_keep_no_trial_out(url):
    storage, book = StudyStorage(url, "digits"), Book()
    for record in study(TrialState.COMPLETED, TrialState.COMPLETED):
        book.apply(record)
    storage.show(book, 0, 2.0)
    storage._dimensions["n_critic"] = optuna.distributions.CategoricalDistribution([7])
    storage.show(book, 1, 2.0)
    assert [bool(trial.params) for trial in optuna.load_study(study_name="digits", storage=url).trials] == [True, False]


# -- where it is -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("url", ["not a url", "nosuchdatabase://host/name", "sqlite+nosuchdriver:///x"])
def test_a_url_that_cannot_be_meant_says_the_rule(url):
    with pytest.raises(ConfigError, match="study_storage must be a database's URL whose driver is installed"):
        StudyStorage(url, "digits").check()


def test_a_database_in_memory_is_refused():
    with pytest.raises(ConfigError, match="study_storage must name a file"):
        StudyStorage("sqlite://", "digits")


def test_a_url_that_cannot_be_used_is_told_without_its_password():
    with pytest.raises(ConfigError, match="whose driver is installed") as error:
        StudyStorage("postgresql+nosuchdriver://me:secret@h/db", "digits").check()
    assert "postgresql+nosuchdriver://***@h/db" in str(error.value)
    assert "secret" not in str(error.value)


class Refusing:
    """A database whose driver tells the URL that it could not use."""

    def __init__(self, why: str) -> None:
        self.why = why

    def get_all_studies(self) -> None:
        raise RuntimeError(f"connection to postgresql://me:secret@h/db failed: {self.why}\nmore")


@pytest.mark.parametrize(
    ("why", "for_good"),
    [
        ("Connection refused", False),
        ('FATAL:  password authentication failed for user "me"', True),
        ("Access denied for user 'me'@'h'", True),
    ],
)
def test_a_database_out_of_reach_is_told_without_its_password(url, why, for_good):
    storage = StudyStorage(url, "digits")
    storage.__dict__["_storage"] = Refusing(why)
    with pytest.raises(Unreachable, match="set study_storage to null") as error:
        storage.check()
    assert "connection to postgresql://***@h/db failed" in str(error.value)
    assert "secret" not in str(error.value)
    assert error.value.for_good is for_good


def test_a_folder_that_is_not_there_is_told(tmp_path):
    with pytest.raises(Unreachable, match="cannot be used"):
        StudyStorage(f"sqlite:////{tmp_path}/no/such/folder/optuna.db", "digits").check()


def test_a_file_that_is_removed_while_it_is_in_use_is_noticed(url, tmp_path):
    records, storage = study(TrialState.COMPLETED, None), StudyStorage(url, "digits")
    storage.check()
    projector = Projector(records, storage)
    assert projector.show_now("suspended") == 0
    (tmp_path / "optuna.db").unlink()
    records.append(journal.decision(1, TrialState.COMPLETED, score=1.0, best_index=1))
    assert projector.show_now("suspended") > 0
    assert "optuna.db was removed while it was in use" in projector.failure
    assert sync(records, url).unsynced == 0, "whoever begins anew shows all of it"


def test_another_study_of_the_name_is_seen_before_training(url):
    StudyStorage(url, "digits").check_owner("u")  # nobody's
    theirs = optuna.create_study(study_name="digits", storage=url)
    StudyStorage(url, "digits").check_owner("u")  # an empty one is nobody's
    sync(study(TrialState.COMPLETED), url)
    StudyStorage(url, "digits").check_owner("u")
    for uid in ("v", None):
        with pytest.raises(StateConflict, match="has another study of the name 'digits'"):
            StudyStorage(url, "digits").check_owner(uid)
    StudyStorage(url, "other").check_owner(None)
    assert len(theirs.trials) == 1, "looking changes nothing"


@pytest.fixture(scope="module")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A PostgreSQL server of our own on a free port."""
    programs = next((p.parent for p in Path("/usr/lib/postgresql").glob("*/bin/initdb")), None)
    if programs is None:
        pytest.skip("no PostgreSQL server: /usr/lib/postgresql/*/bin/initdb is missing")
    if find_spec("psycopg2") is None:
        pytest.skip("SQLAlchemy's driver for PostgreSQL is missing: psycopg2")
    folder = tmp_path_factory.mktemp("postgres")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    options = f"-c listen_addresses=127.0.0.1 -c port={port} -c unix_socket_directories={folder} -c fsync=off"
    as_user = []
    if os.getuid() == 0:  # which PostgreSQL refuses to run as
        for parent in (folder, *folder.parents[:2]):
            parent.chmod(0o755)
        shutil.chown(folder, "postgres")
        as_user = ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups"]
    data = folder / "data"

    def run(program: str, *args: str | Path) -> None:  # to a file: the server would keep a pipe open
        with (folder / "said").open("ab") as said:
            command = [*as_user, programs / program, "-D", data, *args]
            subprocess.run(command, check=True, stdout=said, stderr=said, cwd=folder, timeout=120)

    run("initdb", "-A", "trust", "-U", "me")
    run("pg_ctl", "-l", folder / "log", "-w", "-o", options, "start")
    yield f"postgresql+psycopg2://me:secret@127.0.0.1:{port}/postgres"
    run("pg_ctl", "-m", "fast", "stop")


@pytest.mark.slow
def test_postgresql_holds_the_same(postgres, url):
    records = study(*ENDS)
    storage = StudyStorage(postgres, "digits")
    storage.check()
    for _ in range(2):
        assert sync(records, postgres, storage).unsynced == 0
    sync(records, url)
    assert snapshot(postgres) == snapshot(url)


@pytest.mark.slow
def test_a_postgresql_that_is_not_there_is_told_without_its_password(postgres):
    away = postgres.rpartition(":")[0] + ":1/postgres"
    with warnings.catch_warnings(), pytest.raises(Unreachable, match="start its server") as error:
        StudyStorage(away, "digits").check()
    assert "secret" not in str(error.value)
