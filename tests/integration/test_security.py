"""What SECURITY.md promises, on real processes: who can reach a search, what its files tell, what reading them runs."""

from __future__ import annotations

import os
import pickle
import shutil
import stat
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import pytest

from pipeline import artifacts, rerun
from pipeline.book import Book
from pipeline.compaction import compacted
from pipeline.journal import Place as At
from pipeline.journal import with_digest
from pipeline.ports import CorruptCheckpointError, Job
from pipeline.store import open_store
from pipeline.worker import Worker
from tests.command_line import begin, descendants, end, free_port, gansearch, refusal, wait_for
from tests.fakes import shown
from tests.fakes.canary import RunsCode
from tests.fakes.memory_store import MemoryStore
from tests.faults.held import Held
from tests.place import Place
from tests.ray_processes import named, running
from trainers import history_file
from trainers.errors import GansearchError, IntegrityError
from trainers.evaluation import extractor
from trainers.generate import load_generator

LOOPBACK = {"127.0.0.1", "::1", "::ffff:127.0.0.1"}
PLANTED = {
    "AWS_SECRET_ACCESS_KEY": "planted-aws-7f3a",
    "AWS_SESSION_TOKEN": "planted-session-7f3a",
    "MLFLOW_TRACKING_PASSWORD": "planted-mlflow-7f3a",
    "PGPASSWORD": "planted-database-7f3a",
}


def listening(process: psutil.Process) -> set[str]:
    """The addresses on which a process listens; none where it has just ended."""
    try:
        found = process.net_connections("inet")
    except psutil.NoSuchProcess:
        return set()
    return {connection.laddr.ip for connection in found if connection.status == psutil.CONN_LISTEN}


@dataclass
class Looked:
    """What could be seen of a search while it trained, and where its files are."""

    place: Place
    ray: Path  # the folder for Ray's files
    addresses: set[str]
    commands: str
    token: str
    rights: dict[str, int] = field(default_factory=dict)
    left: list[psutil.Process] = field(default_factory=list)


@pytest.fixture(scope="module")
def looked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Looked]:
    """A search with planted secrets, looked at from outside while its trial waits, that has ended."""
    ray = Path(tempfile.mkdtemp(prefix="gs"))  # a socket's path must be short
    ray.chmod(0o755)  # others may enter it, as they may /tmp
    place = Held(tmp_path_factory.mktemp("secrets"), RAY_TMPDIR=str(ray), **PLANTED)
    driver = place.begin()
    try:
        wait_for(lambda: place.waits(trials=1), driver)
        seen = [psutil.Process(driver.pid), *descendants(driver.pid)]
        [raylet] = named(driver.pid, "raylet")
        addresses = set().union(*map(listening, seen))
        token, commands = raylet.environ()["RAY_AUTH_TOKEN"], "\n".join(map(_command, seen))
        rights = {path.name: stat.S_IMODE(path.lstat().st_mode) for path in ray.iterdir()}
        place.go_on()
        assert driver.wait(240) == 0, place.talk()
        yield Looked(place, ray, addresses, commands, token, rights, running(seen))
    finally:
        end(driver)
        shutil.rmtree(ray)


def _command(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline())
    except psutil.NoSuchProcess:
        return ""


def holding(secret: str, *folders: Path) -> list[Path]:
    """Return the files that hold a text."""
    files = [path for folder in folders for path in folder.rglob("*") if path.is_file() and not path.is_symlink()]
    assert files
    return [path for path in files if secret.encode() in path.read_bytes()]


@pytest.mark.slow
def test_a_search_listens_on_the_loopback_alone(looked: Looked):
    assert looked.addresses, "Ray listens somewhere"
    assert looked.addresses <= LOOPBACK


@pytest.mark.slow
def test_the_token_is_random_in_no_file_and_in_no_command_and_gone_with_the_search(looked: Looked):
    assert len(looked.token) == 64
    assert looked.token not in looked.commands
    assert "raylet" in looked.commands
    assert holding(looked.token, looked.ray, looked.place.folder) == []
    assert looked.left == []


@pytest.mark.slow
def test_nobody_else_can_enter_the_folder_of_rays_files(looked: Looked):
    assert looked.rights == {f"gs-{os.getuid()}": 0o700}
    assert any(looked.ray.glob("*/r/session_*/logs/*"))


@pytest.mark.slow
@pytest.mark.parametrize("name", PLANTED)
def test_no_secret_of_the_environment_is_in_any_file(looked: Looked, name: str):
    """The store with its journal, MLflow's database and artifacts, Ray's logs, stdout and stderr."""
    names = {path.name for path in looked.place.folder.rglob("*")}
    assert {"mlflow.db", "mlartifacts", "stdout.txt", "stderr.txt"} <= names
    assert holding(PLANTED[name], looked.ray, looked.place.folder) == []
    assert PLANTED[name] not in looked.commands


@pytest.mark.slow
def test_the_search_for_secrets_finds_what_is_there(looked: Looked):
    found = holding("wgan", looked.place.folder) + holding("gcs_server", looked.ray)
    assert len(found) > 1


@pytest.mark.slow
@pytest.mark.parametrize("command", ["trials", "sync", "register"])
def test_a_password_in_an_option_is_shown_by_no_command(looked: Looked, command: str):
    uri = f"http://me:planted-option@127.0.0.1:{free_port()}"
    done = gansearch(command, "--store", "store", "--tracking-uri", uri, cwd=looked.place.folder)
    assert done.returncode == (0 if command == "trials" else 4), done.stderr
    assert "planted" not in done.stdout + done.stderr
    assert holding("planted-option", looked.place.folder) == []


@pytest.mark.parametrize("option", ["--tracking-uri", "--store"])
def test_a_search_that_would_keep_a_password_does_not_begin(tmp_path: Path, option: str):
    uri = "postgresql://me:planted@host/db"
    told = refusal(gansearch("search", "--data", "ring8", "--trials", "1", option, uri, cwd=tmp_path), 2)
    assert "must not hold a password" in told
    assert "planted" not in told
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_the_pages_are_for_this_machine_alone(looked: Looked):
    port = free_port()
    process = begin("ui", "--port", str(port), "--store", "store", cwd=looked.place.folder)
    try:
        wait_for(lambda: "MLflow's UI is at" in looked.place.talk(), process)
        found = set().union(*map(listening, descendants(process.pid)))
        assert found == {"127.0.0.1"}
    finally:
        process.terminate()
        process.wait(60)
        end(process)


@pytest.mark.slow
def test_rays_folder_of_somebody_else_is_not_used(tmp_path: Path):
    folder = tmp_path / f"gs-{os.getuid()}"
    folder.mkdir(mode=0o755)
    place = Place(tmp_path, RAY_TMPDIR=str(tmp_path))
    assert "must be yours alone" in refusal(place.search(), 4)
    folder.rmdir()
    folder.symlink_to(tmp_path / "store")
    assert "must be yours alone" in refusal(place.search(), 4)


@pytest.mark.parametrize(
    ("text", "fragment"),
    [
        ("a: &a [x]\nb: [*a, *a]\n", "anchors (&) and aliases (*) are refused"),
        ("steps: 1\nsteps: 2\n", "the key 'steps' is already set in line 1"),
        ("#" * (10 << 20), "must be at most 262144 bytes"),
        ("[" * 100_000, "at most 16 levels deep"),
        ("a: !!python/object/apply:os.system ['touch canary']\n", "tags such as !!python/object/apply:os.system"),
    ],
    ids=["alias bomb", "duplicate", "10 MiB", "deep", "python tag"],
)
def test_a_file_that_is_a_trap_is_refused(tmp_path: Path, text: str, fragment: str):
    (tmp_path / "f.yaml").write_text(text)
    assert fragment in refusal(gansearch("config", "validate", "f.yaml", cwd=tmp_path), 2)
    assert [path.name for path in tmp_path.iterdir()] == ["f.yaml"]


# -- what is read runs no code -----------------------------------------------------------------------------------------


Read = Callable[[Book, MemoryStore, str], object]


def _in_segment(kind: str) -> Callable[[Book, str], Book]:
    def put(book: Book, digest: str) -> Book:
        segment = book.trials[0].segments[-1]
        spoilt = segment.model_copy(update={"result": segment.result.model_copy(update={kind: digest})})
        book.trials[0].segments[-1] = spoilt
        return book

    return put


def _compacted(_book: Book, store: MemoryStore, digest: str) -> object:
    line = f'{{"blob": "{digest}", "records": 1}}\n'.encode()
    store.create("studies/digits/compacted/000001-00000001.jsonl", with_digest(line))
    return compacted(store, "digits", At(1, 1))


def _resumed(book: Book, store: MemoryStore, digest: str, folder: Path) -> object:
    worker = Worker(open_store(folder / "store").uri)
    worker._store.put(store.get(digest))
    job = Job(spec=book.trials[0].spec, attempt=0, checkpoint=digest, extractor=None)
    return worker.start(job)


def _from_run(book: Book, store: MemoryStore, digest: str) -> object:
    files = artifacts.trial_files(book, book.trials[0])
    return artifacts.read_bundle("r", files | {"history.parquet": store.get(digest)})


READERS: dict[str, tuple[str, Read]] = {
    "history": ("history", lambda book, store, _: rerun.from_store(book, store, 0)),
    "history, for MLflow": (
        "history",
        lambda book, store, _: artifacts.stored_files(book, book.trials[0], store)["history.parquet"](),
    ),
    "history, from MLflow": ("history", _from_run),
    "samples": ("samples", lambda book, store, _: artifacts.sample_images(store, book.trials[0].segments[-1])),
    "generator": ("generator", lambda _, store, digest: load_generator(shown.CONFIG, shown.SHAPE, store.get(digest))),
    "extractor": ("generator", lambda _, store, digest: extractor.load(store.get(digest))),
    "one history": ("history", lambda _, store, digest: history_file.from_bytes(store.get(digest))),
    "compacted journal": ("history", _compacted),
}


@pytest.mark.parametrize("what", READERS)
@pytest.mark.parametrize("wrapped", [False, True], ids=["a pickle", "a pickle in .npy"])
def test_what_is_stored_runs_no_code_when_it_is_read(tmp_path: Path, what: str, wrapped: bool):
    canary, store = tmp_path / "canary", MemoryStore()
    bomb = pickle.dumps(RunsCode(canary))
    kind, read = READERS[what]
    digest = store.put(_object_array(bomb) if wrapped else bomb)
    book = _in_segment(kind)(shown.book_of([shown.study(store), *shown.trial(store, 0)]), digest)
    with pytest.raises(GansearchError):
        read(book, store, digest)
    assert not canary.exists()
    pickle.loads(bomb)
    assert canary.exists(), "the canary works"


def test_a_checkpoint_runs_no_code_when_it_is_read(tmp_path: Path):
    canary, store = tmp_path / "canary", MemoryStore()
    book = shown.book_of([shown.study(store), *shown.trial(store, 0)])
    with pytest.raises(CorruptCheckpointError):
        _resumed(book, store, store.put(pickle.dumps(RunsCode(canary))), tmp_path)
    assert not canary.exists()


def _object_array(bomb: bytes) -> bytes:
    """A .npy file of objects, whose content numpy would unpickle."""
    header = b"{'descr': '|O', 'fortran_order': False, 'shape': (), }"
    header += b" " * (63 - (10 + len(header)) % 64) + b"\n"
    return b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header + bomb


def test_the_array_of_objects_is_one(tmp_path: Path):
    import io

    import numpy as np

    np.load(io.BytesIO(_object_array(pickle.dumps(RunsCode(tmp_path / "canary")))), allow_pickle=True)
    assert (tmp_path / "canary").exists()


def test_a_store_that_was_changed_is_told(tmp_path: Path):
    store = MemoryStore()
    book = shown.book_of([shown.study(store), *shown.trial(store, 0)])
    store.discard(book.trials[0].segments[0].result.history)
    with pytest.raises(IntegrityError):
        rerun.from_store(book, store, 0)
