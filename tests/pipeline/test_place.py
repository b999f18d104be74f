"""What a command's options may say of a study's place, and how its trials are named."""

import os
from contextlib import contextmanager

import pytest

from pipeline.book import Book
from pipeline.ledger import Ledger
from pipeline.place import Place, Study, open_study, own_tracking_uri, tracking_uri
from pipeline.store import open_store
from tests.fakes import journal
from tests.fakes.memory_store import MemoryStore
from tests.fakes.moto_server import s3_server, s3_uri
from trainers.errors import ConfigError, IntegrityError, Unreachable

__all__ = ["s3_server", "s3_uri"]  # fixtures

RUN = "0123456789abcdef0123456789abcdef"


@pytest.mark.parametrize("option", ["store", "study", "tracking_uri"])
def test_an_option_that_is_empty_is_refused(option):
    with pytest.raises(ConfigError, match=f"--{option.replace('_', '-')} must not be empty"):
        Place(**{option: ""})


def a_study():
    book = Book()
    for record in (journal.study(), journal.trial(0), journal.run(0, RUN)):
        book.apply(record)
    return Study(name="digits", store=MemoryStore(), book=book, tracking_uri=None)


def test_a_trial_is_named_by_ascii_digits_or_its_run():
    study = a_study()
    assert study.trial("0") is study.trial("000") is study.trial(RUN)


@pytest.mark.parametrize(
    "text", ["9" * 5000, "\N{ARABIC-INDIC DIGIT ZERO}", "1", "-0", "+0", " 0", "0\n", "0.0", "", "²"]
)
def test_what_names_no_trial_is_told_shortly(text):
    with pytest.raises(ConfigError, match=r"has no trial .* \(trials: 0 to 0;") as caught:
        a_study().trial(text)
    assert len(str(caught.value)) < 200


def test_a_run_that_is_nearly_one_of_the_study_is_suggested():
    with pytest.raises(ConfigError, match=f"did you mean '{RUN}'"):
        a_study().trial(RUN[:-1])


def test_mlflow_is_in_the_stores_directory_where_it_has_one(tmp_path):
    assert own_tracking_uri(open_store(tmp_path)) == f"sqlite:///{tmp_path}/mlflow.db"
    with pytest.raises(ConfigError, match=r"--tracking-uri must be given .* but got --store memory://"):
        own_tracking_uri(MemoryStore())


def test_a_bucket_holds_no_mlflow_file(s3_uri):
    with Ledger.open(open_store(s3_uri), "digits") as ledger:
        ledger.append(journal.study())
    assert open_study(Place(store=s3_uri)).store.uri == s3_uri
    assert tracking_uri(Place(store=s3_uri, tracking_uri="http://x")) == "http://x"
    with pytest.raises(ConfigError, match="--tracking-uri must be given where the store is no directory"):
        tracking_uri(Place(store=s3_uri))


# -- the store's own path ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "told"),
    [
        ("~no-such-user-here/x", "nobody has that home directory"),
        ("a\0b", "no NUL byte"),
        ("file:///a%00b", "no NUL byte"),
        ("file://[", "Invalid IPv6 URL"),
        ("a\ud800b", "surrogates not allowed"),
    ],
)
@pytest.mark.parametrize("create", [False, True])
def test_what_can_be_no_path_is_refused(path, told, create):
    with pytest.raises(ConfigError, match=told):
        open_store(path, create=create)


@pytest.mark.parametrize(("create", "use"), [(False, "read"), (True, "written")])
def test_a_path_that_cannot_be_looked_at_is_out_of_reach(create, use, tmp_path):
    with pytest.raises(Unreachable, match=rf"cannot be {use} \(File name too long\); name another"):
        open_store(tmp_path / ("x" * 300), create=create)


@contextmanager
def ordinary_user():
    """Root may look everywhere, so be somebody else for a while."""
    before = os.geteuid()
    if before == 0:
        os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(before)


@pytest.mark.parametrize(("create", "use"), [(False, "read"), (True, "written")])
def test_a_path_that_is_not_permitted_is_out_of_reach(create, use, tmp_path):
    closed = tmp_path / "closed"
    closed.mkdir(mode=0)
    try:
        with ordinary_user(), pytest.raises(Unreachable, match=rf"cannot be {use} \(Permission denied\); name another"):
            open_store(closed / "store", create=create)
    finally:
        closed.chmod(0o700)


def test_a_folder_in_a_blobs_place_is_corruption(tmp_path):
    store = open_store(tmp_path)
    digest = store.put(b"data")
    blob = tmp_path / "blobs" / digest[:2] / digest
    blob.unlink()
    blob.mkdir()
    with pytest.raises(IntegrityError, match=f"blob {digest} .* is no file"):
        store.get(digest)
    blob.rmdir()
    blob.parent.rmdir()
    blob.parent.write_bytes(b"")
    with pytest.raises(IntegrityError, match=f"blob {digest} .* is no file"):
        store.get(digest)
