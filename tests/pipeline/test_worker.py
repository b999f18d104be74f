"""A worker's segments are in its store before it answers, and load back; a checkpoint leads to the same bits."""

import io
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch

from pipeline.ports import CorruptCheckpointError, Job, OtherDataError
from pipeline.records import TrialSpec
from pipeline.store import open_store
from pipeline.worker import Worker
from trainers import data
from trainers.config import TrainConfig
from trainers.errors import ConfigError, DataError, IntegrityError, Unreachable
from trainers.evaluation.extractor import train as train_extractor
from trainers.generate import load_generator, sample
from trainers.history_file import from_bytes
from trainers.state import load

TINY = {
    "data": "ring8",
    "network": {"name": "mlp", "width": 8, "depth": 1},
    "latent": {"size": 2},
    "batch_size": 8,
    "evaluation": {"samples": 50, "grid": 4},
    "steps": 90,
    "segment_steps": 20,
    "device": "cpu",
}


def config(**changes):
    return TrainConfig.model_validate(TINY | changes)


def job(config, checkpoint=None, extractor=None):
    spec = TrialSpec(number=0, key="u/0", params={}, config=config)
    return Job(spec=spec, attempt=0, checkpoint=checkpoint, extractor=extractor)


def train(store, job, segments):
    worker = Worker(store.uri)
    return [worker.start(job), *(worker.advance() for _ in range(segments - 1))]


def without_time(results):
    return [result.model_copy(update={"seconds": 0.0}) for result in results]


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return open_store(tmp_path_factory.mktemp("store"))


@pytest.fixture(scope="module")
def straight(store):
    return train(store, job(config()), 5)


def test_segments_follow_each_other_to_the_budget(straight):
    assert [(r.start, r.stop) for r in straight] == [(0, 20), (20, 40), (40, 60), (60, 80), (80, 90)]
    assert all(next(iter(r.scores)) == "mixture_kl" and np.isfinite(r.score) for r in straight)
    assert all(r.seconds > 0 and r.environment.device == "cpu" for r in straight)


def test_the_history_has_a_row_for_every_step(store, straight):
    tables = [from_bytes(store.get(result.history)) for result in straight]
    assert [step for table in tables for step in table["step"].to_pylist()] == list(range(1, 91))
    assert np.isfinite(tables[0]["d_loss"].to_numpy()).all()


def test_the_checkpoint_is_that_of_the_segments_end(store, straight):
    assert [load(store.get(result.checkpoint)).step for result in straight] == [20, 40, 60, 80, 90]


def test_the_generator_draws_and_the_samples_are_points(store, straight):
    generator = load_generator(config(), (2,), store.get(straight[-1].generator))
    assert sample(generator, config(), 5, seed=1).shape == (5, 2)
    points = np.load(io.BytesIO(store.get(straight[-1].samples)), allow_pickle=False)
    assert (points.shape, points.dtype) == ((50, 2), np.float32)


@pytest.mark.parametrize("after", [1, 3])
def test_resumed_from_a_checkpoint_every_blob_is_the_same(store, straight, after):
    resumed = train(store, job(config(), checkpoint=straight[after - 1].checkpoint), 5 - after)
    assert without_time(resumed) == without_time(straight[after:])


def test_a_second_trial_in_a_warm_worker_equals_one_in_a_fresh_worker(store, straight):
    worker = Worker(store.uri)
    worker.start(job(config(seed=9, batch_size=16)))
    again = [worker.start(job(config())), *(worker.advance() for _ in range(4))]
    assert without_time(again) == without_time(straight)


def test_a_machine_with_the_data_that_were_prepared_trains_and_one_with_others_does_not(store, straight):
    worker = Worker(store.uri)
    digest = worker.prepare(config()).data["digest"]
    assert without_time([worker.start(job(config()), digest)]) == without_time(straight[:1])
    with pytest.raises(OtherDataError) as caught:
        worker.start(job(config()), "0" * 64)
    assert f"'ring8' has digest {digest[:12]} here, and 000000000000 there" in str(caught.value)


def test_a_machine_without_the_files_that_were_prepared_blames_no_trial(store, tmp_path):
    absent = job(config(data={"name": "mnist", "root": str(tmp_path)}))
    with pytest.raises(OtherDataError, match=r"cannot be read, though another worker has them: .*ubyte"):
        Worker(store.uri).start(absent, "0" * 64)
    with pytest.raises(DataError, match="ubyte"):
        Worker(store.uri).start(absent)


def test_another_seed_gives_another_history(store, straight):
    [other] = train(store, job(config(seed=1)), 1)
    assert other.history != straight[0].history


def test_checkpoints_are_as_rare_as_was_asked_also_after_a_resume(store):
    rare = config(checkpoint_every=2)
    results = train(store, job(rare), 5)
    assert [result.checkpoint is None for result in results] == [True, False, True, False, True]
    resumed = train(store, job(rare, checkpoint=results[1].checkpoint), 3)
    assert without_time(resumed) == without_time(results[2:])


def corrupt(store, digest):
    """Start from a checkpoint that cannot be used, and return what is said of it."""
    with pytest.raises(CorruptCheckpointError) as caught:
        Worker(store.uri).start(job(config(), checkpoint=digest))
    assert caught.value.blob == digest
    assert digest in str(caught.value)
    return str(caught.value)


def test_a_checkpoint_that_is_missing_or_none_is_named(tmp_path):
    other = open_store(tmp_path)
    assert "not a checkpoint" in corrupt(other, other.put(b"no checkpoint"))
    assert "missing" in corrupt(other, "0" * 64)


def test_a_checkpoint_with_one_other_bit_or_a_shorter_one_is_named(store, straight, tmp_path):
    other = open_store(tmp_path)
    data = store.get(straight[0].checkpoint)
    for broken in (data[:-1], data[:-1] + bytes([data[-1] ^ 1])):
        digest = other.put(data)
        [blob] = [path for path in tmp_path.rglob("*") if path.name == digest]
        blob.chmod(0o600)
        blob.write_bytes(broken)
        corrupt(other, digest)
        other.discard(digest)


def test_a_checkpoint_that_does_not_fit_any_more_is_named(store):
    [wide] = train(store, job(config(network={"name": "mlp", "width": 9, "depth": 1})), 1)
    assert "does not fit this configuration" in corrupt(store, wide.checkpoint)


class Bomb:
    """Whoever unpickles it makes a file."""

    def __init__(self, canary: Path) -> None:
        self.canary = canary

    def __reduce__(self):
        return Path.touch, (self.canary,)


def test_no_code_in_a_checkpoint_runs(tmp_path):
    other, canary = open_store(tmp_path / "store"), tmp_path / "canary"
    zipped = io.BytesIO()
    torch.save({"step": Bomb(canary)}, zipped)
    for bomb in (pickle.dumps(Bomb(canary)), zipped.getvalue()):
        corrupt(other, other.put(bomb))
        assert not canary.exists()
        torch.load(io.BytesIO(bomb), weights_only=False) if bomb is zipped.getvalue() else pickle.loads(bomb)
        assert canary.exists()  # the bomb is a live one
        canary.unlink()


def test_after_a_corrupt_checkpoint_the_worker_holds_no_job_and_takes_the_next(store, straight):
    worker = Worker(store.uri)
    worker.start(job(config(seed=3)))
    with pytest.raises(CorruptCheckpointError):
        worker.start(job(config(), checkpoint="0" * 64))
    with pytest.raises(StopIteration):
        worker.advance()
    assert without_time([worker.start(job(config()))]) == without_time(straight[:1])


def test_prepare_tells_what_a_study_has_to_know(store):
    prepared = Worker(store.uri).prepare(config())
    dataset = data.load(config().data)
    assert (prepared.metric, prepared.extractor) == ("mixture_kl", None)
    assert prepared.data["digest"] == dataset.digest
    assert (prepared.data["name"], prepared.data["shape"]) == ("ring8", [2])
    assert (prepared.data["train"], prepared.data["held_out"]) == (len(dataset.train), len(dataset.held_out))


def test_the_environment_of_prepare_is_that_of_training(store, straight):
    assert Worker(store.uri).prepare(config()).environment == straight[0].environment


def test_images_are_scored_on_the_extractor_that_prepare_stored(store):
    digits = config(data="digits", steps=2, segment_steps=2, latent={"size": 4})
    prepared = Worker(store.uri).prepare(digits)
    assert store.get(prepared.extractor)
    [result] = train(store, job(digits, extractor=prepared.extractor), 1)
    assert next(iter(result.scores)) == prepared.metric
    assert np.load(io.BytesIO(store.get(result.samples)), allow_pickle=False).shape == (4, 1, 8, 8)


def test_prepare_goes_by_an_extractor_that_was_trained_before(store):
    digits = config(data="digits", steps=2, segment_steps=2, latent={"size": 4})
    before = store.put(train_extractor(data.load(digits.data), steps=2))  # which no training here would give
    prepared = Worker(store.uri).prepare(digits, before)
    assert prepared.extractor == before
    assert before[:8] in prepared.metric
    assert prepared.metric != Worker(store.uri).prepare(digits).metric
    with pytest.raises(IntegrityError, match="missing"):
        Worker(store.uri).prepare(digits, "0" * 64)


def test_data_that_are_not_there_are_the_users_error(store):
    with pytest.raises(DataError):
        Worker(store.uri).prepare(config(data={"name": "mnist", "root": str(store.path / "nowhere")}))


def test_a_worker_without_a_job_has_no_next_segment(store):
    with pytest.raises(StopIteration):
        Worker(store.uri).advance()


def test_equal_trainings_of_two_studies_share_nothing_that_either_may_discard(store, straight):
    spec = TrialSpec(number=0, key="v/0", params={}, config=config())
    again = Worker(store.uri).start(Job(spec=spec, attempt=0, checkpoint=None, extractor=None))
    assert again.history == straight[0].history
    assert {again.checkpoint, again.generator}.isdisjoint({straight[0].checkpoint, straight[0].generator})


def test_a_network_that_cannot_be_built_is_refused_before_the_first_trial(store):
    with pytest.raises(ConfigError, match="square images"):
        Worker(store.uri).prepare(config(network="dcgan"))


def test_a_store_that_is_not_there_is_not_made(tmp_path):
    """On a node without the shared folder, blobs would end on a disk where nobody looks for them."""
    with pytest.raises(Unreachable):
        Worker(str(tmp_path / "store"))
    assert list(tmp_path.iterdir()) == []
