"""What every executor promises, on Ray and on the fake that other tests run on."""

import re
from collections.abc import Iterator

import pytest

from pipeline.ports import Answer, Executor, Loss, OtherDataError
from pipeline.ray_executor import RayExecutor
from pipeline.records import SegmentResult
from tests.fakes.inline_executor import InlineExecutor
from tests.fakes.workers import SCRIPTED, ScriptedWorker, job
from trainers.config import TrainConfig
from trainers.errors import DataError, IntegrityError

TIMEOUT = 60.0  # seconds: never waited for, unless the executor is broken


@pytest.fixture(scope="module", params=["inline", "ray"])
def executor(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Executor]:
    store = tmp_path_factory.mktemp("store")
    made: Executor
    if request.param == "ray":
        made = RayExecutor(str(store), workers=2, gpus_per_worker=0, worker=SCRIPTED)
    else:
        made = InlineExecutor(lambda: ScriptedWorker(str(store)), workers=2)
    yield made
    made.close()
    made.close()


def answer(executor: Executor, do: str, worker: str = "worker-0", number: int = 0) -> SegmentResult | Loss:
    executor.start(worker, job(do, number))
    [given] = executor.next(TIMEOUT)
    assert given[:3] == (worker, number, 0)
    return given.result


def test_workers_are_named_by_their_number(executor: Executor):
    assert executor.workers == ("worker-0", "worker-1")


def test_prepare_returns_what_the_worker_found(executor: Executor):
    prepared = executor.prepare(TrainConfig())
    assert (prepared.metric, prepared.extractor) == ("frechet", "f" * 64)


def test_prepare_goes_by_the_extractor_that_it_is_given(executor: Executor):
    assert executor.prepare(TrainConfig(), "e" * 64).extractor == "e" * 64


def test_prepare_raises_the_workers_own_error(executor: Executor):
    with pytest.raises(DataError) as caught:
        executor.prepare(TrainConfig(seed=13))
    assert str(caught.value) == "data/unlucky.idx is not there; fetch it"


def test_a_worker_is_told_what_data_were_prepared_and_may_refuse_for_them(executor: Executor):
    executor.prepare(TrainConfig())
    executor.start("worker-1", job("other"))
    with pytest.raises(OtherDataError) as caught:
        executor.next(TIMEOUT)
    assert str(caught.value) == "here are other data than d"
    assert isinstance(answer(executor, "train", "worker-1"), SegmentResult)


def test_a_job_goes_on_segment_by_segment(executor: Executor):
    first = answer(executor, "train")
    executor.advance("worker-0")
    [second] = executor.next(TIMEOUT)
    assert isinstance(first, SegmentResult)
    assert isinstance(second.result, SegmentResult)
    assert [(first.start, first.stop), (second.result.start, second.result.stop)] == [(0, 10), (10, 20)]


def test_an_answer_names_the_trial_and_the_attempt_that_it_is_of(executor: Executor):
    executor.start("worker-1", job("train", number=7, attempt=3))
    [first] = executor.next(TIMEOUT)
    executor.advance("worker-1")
    [second] = executor.next(TIMEOUT)
    assert first[:3] == second[:3] == ("worker-1", 7, 3)


def test_each_call_has_one_answer_and_nothing_outstanding_has_none(executor: Executor):
    for number, worker in enumerate(executor.workers):
        executor.start(worker, job("train", number))
    given: dict[str, SegmentResult | Loss] = {}
    while len(given) < 2:
        for answer in executor.next(TIMEOUT):
            assert answer.worker not in given
            given[answer.worker] = answer.result
    assert {worker: getattr(result, "score", None) for worker, result in given.items()} == {
        "worker-0": 0.0,
        "worker-1": 1.0,
    }
    assert executor.next(TIMEOUT) == []


def test_a_worker_takes_one_call_at_a_time(executor: Executor):
    executor.start("worker-0", job("train"))
    with pytest.raises(RuntimeError, match="worker-0 has not answered"):
        executor.advance("worker-0")
    assert len(executor.next(TIMEOUT)) == 1


def test_a_new_job_takes_the_place_of_the_old_one(executor: Executor):
    answer(executor, "train", number=4)
    replaced = answer(executor, "train", number=5)
    assert isinstance(replaced, SegmentResult)
    assert (replaced.start, replaced.score) == (0, 5.0)


def test_an_exception_of_the_training_is_a_loss_with_its_traceback(executor: Executor):
    loss = answer(executor, "raise")
    assert isinstance(loss, Loss)
    assert loss.cause == "user_error"
    assert re.fullmatch(r"ZeroDivisionError: the loss divides by zero at /.*/tests/fakes/workers\.py:\d+", loss.detail)
    assert "workers.py" in loss.traceback
    assert isinstance(answer(executor, "train"), SegmentResult)


def test_code_that_would_end_its_process_is_a_mistake_of_the_users_and_keeps_the_worker(executor: Executor):
    before = executor.prepare(TrainConfig()).data["pid"]
    loss = answer(executor, "leave")
    assert isinstance(loss, Loss)
    assert loss.cause == "user_error"
    assert loss.detail.startswith("RuntimeError: what was trained would end its process (SystemExit(3)) at /")
    assert executor.prepare(TrainConfig()).data["pid"] == before


def test_a_trial_that_cannot_be_built_is_a_loss_in_its_own_words_and_keeps_the_worker(executor: Executor):
    before = executor.prepare(TrainConfig()).data["pid"]
    loss = answer(executor, "refuse")
    assert isinstance(loss, Loss)
    assert (loss.cause, loss.detail) == ("user_error", "network dcgan needs square images")
    assert executor.prepare(TrainConfig()).data["pid"] == before


def test_a_corrupt_checkpoint_is_a_loss_that_names_its_blob_and_keeps_the_worker(executor: Executor):
    before = executor.prepare(TrainConfig()).data["pid"]
    loss = answer(executor, "checkpoint")
    assert isinstance(loss, Loss)
    assert (loss.cause, loss.blob) == ("checkpoint", "c" * 64)
    assert "it is missing" in loss.detail
    assert executor.prepare(TrainConfig()).data["pid"] == before


@pytest.mark.parametrize(("do", "cause"), [("memory", "host_memory"), ("exit", "worker_lost")])
def test_a_worker_that_is_lost_comes_back_under_its_name_and_without_its_job(executor: Executor, do: str, cause: str):
    loss = answer(executor, do, "worker-1")
    assert isinstance(loss, Loss)
    assert loss.cause == cause
    executor.advance("worker-1")
    [jobless] = executor.next(TIMEOUT)
    assert isinstance(jobless.result, Loss)  # a fresh worker: the old one's job is not in it
    assert isinstance(answer(executor, "train", "worker-1"), SegmentResult)


def test_our_own_error_keeps_its_class_and_no_other_answer_is_lost_by_it(executor: Executor):
    given: list[Answer] = []
    raised: list[str] = []
    for number in range(20):  # often enough that both answers are there at once
        executor.start("worker-0", job("train", number))
        executor.start("worker-1", job("integrity"))
        while len(given) + len(raised) < 2 * (number + 1):
            try:
                given += executor.next(TIMEOUT) or pytest.fail("an answer is lost")
            except IntegrityError as error:
                raised.append(str(error))
    assert raised == ["blob abc is corrupt"] * 20
    assert [getattr(answer.result, "score", None) for answer in given] == [float(number) for number in range(20)]
    assert isinstance(answer(executor, "train", "worker-1"), SegmentResult)
