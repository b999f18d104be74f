"""Ray's own side of the executor: places, processes, devices, and clusters that are not ours."""

import json
import logging
import os
import secrets
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
import ray

from pipeline.ports import Answer, Loss
from pipeline.ray_executor import RayExecutor
from pipeline.ray_options import OBJECT_STORE_BYTES
from pipeline.records import SegmentResult
from tests.fakes.workers import SCRIPTED, job
from tests.ray_head import Cluster, ray_head
from trainers.config import TrainConfig
from trainers.errors import ConfigError, DataError, Unreachable

ROOT = Path(__file__).parents[2]
TIMEOUT = 60.0  # seconds: never waited for, unless something is broken


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + TIMEOUT
    while not condition():
        assert time.monotonic() < deadline, "the condition did not come true"
        time.sleep(0.01)


def alive(pid: int) -> bool:
    return psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE


@pytest.fixture(scope="module")
def two_gpus() -> Iterator[None]:
    """A Ray that the caller has initialised, on a machine said to have 4 CPUs and 2 GPUs."""
    with pytest.MonkeyPatch.context() as patch:
        if "RAY_AUTH_TOKEN" not in os.environ:
            patch.setenv("RAY_AUTH_TOKEN", secrets.token_hex(32))
        ray.init(
            address="local", num_cpus=4, num_gpus=2, include_dashboard=False, log_to_driver=False,
            logging_level=logging.ERROR, object_store_memory=OBJECT_STORE_BYTES,
        )  # fmt: skip
        yield
        ray.shutdown()


@pytest.fixture
def make(two_gpus: None, tmp_path: Path) -> Iterator[Callable[..., RayExecutor]]:
    made: list[RayExecutor] = []

    def build(workers: int, gpus_per_worker: float | None = None, address: str | None = None, **kw) -> RayExecutor:
        store = kw.pop("store", str(tmp_path))
        made.append(RayExecutor(store, workers, gpus_per_worker, address, worker=SCRIPTED, **kw))
        return made[-1]

    yield build
    for executor in made:
        executor.close()


def meet(executor: RayExecutor) -> None:
    """Every worker waits for all others: this ends only if they run at the same time."""
    for number, worker in enumerate(executor.workers):
        executor.start(worker, job(f"meet-{len(executor.workers)}", number))
    given: list[Answer] = []
    while len(given) < len(executor.workers):
        given += executor.next(TIMEOUT) or pytest.fail("no answer in time")
    assert all(isinstance(answer.result, SegmentResult) for answer in given)


def test_two_workers_train_at_once_each_on_a_gpu_of_its_own_and_ray_outlives_them(make):
    executor = make(2)
    meet(executor)
    info = executor.worker_info()
    assert {place["cuda_visible_devices"] for place in info.values()} == {"0", "1"}
    executor.close()
    assert ray.is_initialized()
    wait_for(lambda: not any(alive(place["pid"]) for place in info.values()))


def test_four_workers_share_two_gpus(make):
    executor = make(4, 0.5)
    meet(executor)
    assert Counter(place["cuda_visible_devices"] for place in executor.worker_info().values()) == {"0": 2, "1": 2}


def test_cpu_workers_see_no_gpu_and_a_killed_one_comes_back(make, tmp_path: Path):
    executor = make(1, 0)
    before = executor.worker_info()["worker-0"]
    assert before["cuda_visible_devices"] == ""

    executor.start("worker-0", job("hang"))
    assert executor.next(0.0) == []
    wait_for((tmp_path / "hanging").exists)
    os.kill(before["pid"], signal.SIGKILL)
    [lost] = executor.next(TIMEOUT)
    assert isinstance(lost.result, Loss)
    assert (lost.worker, lost.result.cause) == ("worker-0", "worker_lost")

    executor.start("worker-0", job("train"))
    [answer] = executor.next(TIMEOUT)
    assert isinstance(answer.result, SegmentResult)
    after = executor.worker_info()["worker-0"]
    assert after["pid"] != before["pid"]
    assert after["cuda_visible_devices"] == ""
    assert executor.call(environment) == ["1", ":4096:8"]


def test_a_worker_that_comes_back_and_cannot_begin_ends_the_search_with_its_reason(make, tmp_path: Path):
    executor = make(1, 0)
    executor.start("worker-0", job("hang"))
    wait_for((tmp_path / "hanging").exists)
    (tmp_path / "gone").touch()
    os.kill(executor.worker_info()["worker-0"]["pid"], signal.SIGKILL)
    [lost] = executor.next(TIMEOUT)
    assert isinstance(lost.result, Loss)
    with pytest.raises(DataError, match="nothing left in the store"):
        wait_for(lambda: executor.ready("worker-0") or executor.next(0.05) or False)


def test_a_worker_that_dies_as_it_opens_is_replaced_a_few_times_and_then_ends_the_search(make, tmp_path: Path):
    executor = make(1, 0)
    (tmp_path / "dies").touch()
    executor.start("worker-0", job("exit"))
    [lost] = executor.next(TIMEOUT)
    assert isinstance(lost.result, Loss)
    with pytest.raises(Unreachable, match=r"worker-0 died 3 times in a row as it opened: .*ActorDied"):
        wait_for(lambda: executor.ready("worker-0") or executor.next(0.05) or False)


def test_a_worker_that_dies_before_the_first_trial_is_waited_for_so_long_and_no_longer(make):
    """Somebody else waits for its room: the one in its stead finds none."""
    executor = make(1, 0, patience=10.0)
    other = ray.remote(Counter).options(num_cpus=4).remote()
    with pytest.raises(Unreachable, match=r"after 10 s 0 of them had a place: asked for 1 worker"):
        executor.prepare(TrainConfig(seed=14))
    ray.kill(other)


def environment() -> list[str]:
    return [os.environ["OMP_NUM_THREADS"], os.environ["CUBLAS_WORKSPACE_CONFIG"]]


def test_more_than_there_is_room_for_is_refused_with_the_numbers(make):
    with pytest.raises(
        Unreachable, match="asked for 3 workers with 1 CPU and 1 GPU each; the cluster has 4 CPUs and 2"
    ):
        make(3, 1)


def test_a_cluster_gets_time_to_grow_and_then_is_refused(make, caplog: pytest.LogCaptureFixture):
    with pytest.raises(Unreachable, match=r"after 0\.2 s .*asked for 5 workers with 1 CPU each; .* room for 4"):
        make(5, 0, "auto", patience=0.2)
    assert "giving the cluster 0.2 s to grow" in caplog.text
    assert "2 GPUs" in str(make(1, 0).call(visible_resources))


def visible_resources() -> str:
    resources = ray.cluster_resources()
    return f"{resources['GPU']:g} GPUs"


def test_an_error_of_the_workers_constructor_keeps_its_class(make):
    with pytest.raises(DataError, match="there is no store called missing"):
        make(1, 0, store="missing")


# -- in processes of their own -----------------------------------------------------------------------------------------

HEADER = """
import json, os, signal, sys
from pipeline.stdout import stdout_to_stderr
from pipeline.ray_executor import RayExecutor
from pipeline.ports import Loss
from tests.fakes.workers import SCRIPTED, job
from trainers.errors import GansearchError
def where():
    import pipeline
    return pipeline.__file__
"""
LOCAL = """
with stdout_to_stderr() as data:
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    mine = signal.getsignal(signal.SIGTERM)
    executor = RayExecutor(sys.argv[1], 1, worker=SCRIPTED)
    executor.start("worker-0", job("exit"))  # Ray prints about it
    [(*_, loss)] = executor.next(60)
    interrupted = []
    signal.signal(signal.SIGINT, lambda *_: interrupted.append(True))
    executor.start("worker-0", job("meet-2"))
    while not interrupted:
        assert executor.next(0.2) == []
    open(sys.argv[1] + "/here-1", "w").close()
    [(*_, result)] = executor.next(60)
    info = executor.worker_info()
    executor.close()
    same = signal.getsignal(signal.SIGTERM) is mine
    json.dump([loss.cause, result.stop, same, info["worker-0"]["pid"]], data)
"""
ADDRESS = """
with stdout_to_stderr() as data:
    try:
        executor = RayExecutor(sys.argv[1], 2, None, sys.argv[2], worker=SCRIPTED, modules=["tests"])
        for number, worker in enumerate(executor.workers):
            executor.start(worker, job("meet-2", number))
        steps = []
        while len(steps) < 2:
            steps += [answer.result.stop for answer in executor.next(60)]
        path = executor.call(where)
        executor.close()
        json.dump([steps, path], data)
    except GansearchError as error:
        json.dump([error.exit_code, str(error)], data)
"""


def python(code: str, *args: str, home: Path, **env: str) -> subprocess.Popen[str]:
    kept = {key: value for key, value in os.environ.items() if not key.startswith("RAY_")}
    return subprocess.Popen(
        [sys.executable, "-W", "error::ResourceWarning", "-c", HEADER + code, *args],
        env=kept | {"PYTHONPATH": str(ROOT), "HOME": str(home)} | env,
        cwd=home, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
    )  # fmt: skip


def test_a_local_ray_keeps_stdout_home_signals_and_workers_ours(tmp_path: Path):
    home, store = tmp_path / "home", tmp_path / "store"
    home.mkdir()
    store.mkdir()
    driver = python(LOCAL, str(store), home=home)
    try:
        wait_for(lambda: (store / "here-0").exists() or driver.poll() is not None)
        os.killpg(driver.pid, signal.SIGINT)  # as a terminal does at Ctrl-C: to the driver and to all its children
        out, err = driver.communicate(timeout=TIMEOUT)
    finally:
        driver.kill()
    assert driver.returncode == 0, err
    cause, stop, same_handler, pid = json.loads(out)
    assert (cause, stop, same_handler) == ("worker_lost", 10, True)
    assert "worker died" in err  # the message that Ray would have put on stdout
    wait_for(lambda: not alive(pid))
    assert list(home.iterdir()) == []  # no token was written


@pytest.fixture(scope="module")
def foreign_cluster() -> Iterator[Cluster]:
    """Somebody else's cluster on this machine."""
    with ray_head() as head:
        yield head
        assert alive(head.head.pid), "a cluster that is not ours was ended"


def test_a_cluster_that_is_not_ours_runs_our_code_and_lives_on(foreign_cluster: Cluster, tmp_path: Path):
    address, token = foreign_cluster.address, foreign_cluster.token
    secret = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": token}
    out, err = python(ADDRESS, str(tmp_path), address, home=tmp_path, **secret).communicate(timeout=TIMEOUT)
    assert out, err
    steps, path = json.loads(out)
    assert steps == [10, 10]
    assert "py_modules" in path  # the driver's code, shipped; not what the node happens to have


def test_a_wrong_token_is_out_of_reach_and_named(foreign_cluster: Cluster, tmp_path: Path):
    wrong = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "f" * 64, "RAY_NUM_REDIS_GET_RETRIES": "2"}  # 20 else
    driver = python(ADDRESS, str(tmp_path), foreign_cluster.address, home=tmp_path, **wrong)
    out, err = driver.communicate(timeout=TIMEOUT)
    assert out, err
    code, text = json.loads(out)
    assert code == 4
    assert "RAY_AUTH_TOKEN" in text


def test_an_address_where_nobody_listens_is_out_of_reach_within_seconds(tmp_path: Path):
    with socket.socket() as reserved:  # bound, but not listening
        reserved.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{reserved.getsockname()[1]}"
        began = time.monotonic()
        out, err = python(ADDRESS, str(tmp_path), address, home=tmp_path).communicate(timeout=TIMEOUT)
    assert json.loads(out)[0] == 4, err
    assert address in out
    assert "ray start --head" in out
    assert "Traceback" not in err
    assert time.monotonic() - began < 15


@pytest.mark.parametrize(("workers", "gpus", "key"), [(0, None, "workers=0"), (1, -1, "gpus_per_worker=-1")])
def test_what_cannot_be_meant_names_key_and_value(make, workers: int, gpus: float | None, key: str):
    with pytest.raises(ConfigError, match=key):
        make(workers, gpus)
