"""A recorded trial trained again has the same bits, and one wrong bit is found."""

import json
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest
import safetensors.torch
import yaml
from hypothesis import given
from hypothesis import strategies as st

from pipeline import rerun
from pipeline.artifacts import read_bundle, stored_files, trial_files
from pipeline.book import Book
from pipeline.ports import Job
from pipeline.records import SegmentRecord, TrialRecord, TrialSpec, TrialState
from pipeline.store import open_store
from pipeline.worker import Worker
from tests.fakes import journal
from trainers.config import TrainConfig
from trainers.errors import ConfigError, IntegrityError, StateConflict, UserError
from trainers.params.detectors import DetectorParams
from trainers.registry import Variant

STEPS = 90
TINY = {
    "data": "ring8",
    "network": {"name": "mlp", "width": 8, "depth": 1},
    "latent": {"size": 2},
    "batch_size": 8,
    "n_critic": 2,
    "evaluation": {"samples": 50, "grid": 4},
    "steps": STEPS,
    "segment_steps": 30,
    "device": "cpu",
    "seed": 5,
}


def unwatched(segment):
    return None


def record(store, state=TrialState.COMPLETED, segments=3, **changes):
    """A study with one trial, trained by a worker for real, and decided."""
    worker = Worker(store.uri)
    config = TrainConfig.model_validate(TINY | changes)
    spec = TrialSpec(number=0, key="u/0", params={}, config=config)
    prepared = worker.prepare(config)
    results = [worker.start(Job(spec=spec, attempt=0, checkpoint=None, extractor=None))]
    results += [worker.advance() for _ in range(segments - 1)]
    book = Book()
    book.apply(journal.study(data=prepared.data, metric=prepared.metric))
    book.apply(TrialRecord(at=1.0, spec=spec))
    book.apply(journal.attempt(0))
    for index, result in enumerate(results):
        book.apply(SegmentRecord(at=2.0, trial=0, attempt=0, index=index, result=result))
    book.apply(journal.decision(0, state, event=results[-1].stopping))
    return book


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return open_store(tmp_path_factory.mktemp("store"))


@pytest.fixture(scope="module")
def book(store):
    return record(store)


@pytest.fixture(scope="module")
def bundle(book, store):
    return rerun.from_store(book, store, 0)


def verify(bundle, **changes):
    config = bundle.spec.config
    return rerun.verify(bundle, config.model_copy(update=changes), unwatched)


def with_column(table, name, values):
    return table.set_column(table.column_names.index(name), name, pa.chunked_array([pa.array(values, pa.float32())]))


def flipped(table, name, step):
    """The table with the last bit of one value the other way round."""
    bits = table[name].to_numpy(zero_copy_only=False).astype(np.float32)
    bits.view(np.uint32)[step - 1] ^= 1
    return with_column(
        table, name, [None if not v else x for v, x in zip(table[name].is_valid().to_pylist(), bits, strict=True)]
    )


# -- the same ----------------------------------------------------------------------------------------------------------


def test_a_recorded_trial_is_the_same_again(bundle):
    seen = []
    found = rerun.verify(bundle, bundle.spec.config, seen.append)
    assert found.document() == {
        "trial": 0,
        "steps_compared": STEPS,
        "identical": True,
        "first_difference": None,
        "same_environment": True,
    }
    assert [segment.stop for segment in seen] == [30, 60, 90]
    assert {step: pair["recorded"] for step, pair in found.scores.items()} == bundle.scores_by_step


def test_a_pruned_trial_is_compared_as_far_as_it_went(store):
    found = verify(rerun.from_store(record(store, TrialState.PRUNED, segments=2), store, 0))
    assert (found.identical, found.steps_compared) == (True, 60)


def test_a_diverged_trial_is_the_same_again_to_its_end(store):
    explosive = {"stability": {"exploding_gradient": {"threshold": 1e-9, "window": 40, "action": "stop"}}}
    book = record(store, TrialState.DIVERGED, segments=2, **explosive)
    assert book.trials[0].event.step == 40
    found = verify(rerun.from_store(book, store, 0))
    assert (found.identical, found.steps_compared) == (True, 60)


def test_the_bundle_of_a_run_verifies_as_well(book, store):
    stored = {path: make() for path, make in stored_files(book, book.trials[0], store).items()}
    found = verify(read_bundle("r", trial_files(book, book.trials[0]) | stored))
    assert (found.identical, found.steps_compared) == (True, STEPS)


# -- not the same ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "step"), [("d_loss", 1), ("logit_real", 47), ("g_loss", 90)])
def test_one_flipped_last_bit_is_found(bundle, name, step):
    found = verify(replace(bundle, history=flipped(bundle.history, name, step)))
    assert found.identical is False
    difference = found.first_difference
    assert (difference["step"], difference["signal"]) == (step, name)
    recorded, again = (float.fromhex(difference[key]) for key in ("recorded", "again"))
    assert recorded != again
    assert recorded == pytest.approx(again, rel=1e-6)
    json.dumps(found.document(), allow_nan=False)


def test_the_first_of_several_differences_is_told(bundle):
    broken = flipped(flipped(bundle.history, "d_loss", 80), "logit_fake", 33)
    assert verify(replace(bundle, history=broken)).first_difference["step"] == 33


def test_a_value_where_there_was_none_is_found(bundle):
    absent = bundle.history["g_loss"].to_pylist()
    assert absent[2] is None  # the generator is trained after every second step
    found = verify(replace(bundle, history=with_column(bundle.history, "g_loss", [*absent[:2], 0.0, *absent[3:]])))
    assert found.first_difference == {"step": 3, "signal": "g_loss", "recorded": (0.0).hex(), "again": None}


def test_another_seed_is_found_at_the_first_step(bundle):
    found = verify(bundle, seed=6)
    assert (found.identical, found.first_difference["step"]) == (False, 1)


@pytest.mark.parametrize(("missing", "told"), [(1, 2), (45, 46)])
def test_a_missing_step_is_found(bundle, missing, told):
    rows = [row for row in range(STEPS) if row != missing - 1]
    difference = verify(replace(bundle, history=bundle.history.take(rows))).first_difference
    assert difference["step"] == told
    assert bundle.history.column_names.index(difference["signal"]) >= 0


def test_a_missing_last_step_is_found(bundle):
    found = verify(replace(bundle, history=bundle.history.slice(0, STEPS - 1)))
    assert (found.identical, found.steps_compared) == (False, STEPS - 1)
    assert found.first_difference == {"step": STEPS, "signal": "step", "recorded": None, "again": STEPS}


def test_a_missing_last_segment_is_found(bundle):
    difference = verify(replace(bundle, history=bundle.history.slice(0, 60))).first_difference
    assert (difference["step"], difference["recorded"], difference["again"]) == (61, None, 61)


def test_only_as_many_steps_as_were_asked_for_are_compared(bundle):
    found = verify(bundle, steps=60)
    assert (found.identical, found.steps_compared, found.first_difference) == (True, 60, None)


def test_another_score_is_found(bundle):
    scores = bundle.scores_by_step | {60: {"mixture_kl": 0.0}}
    found = verify(replace(bundle, scores_by_step=scores))
    assert found.identical is False
    assert (found.first_difference["step"], found.first_difference["signal"]) == (60, "score")


# -- elsewhere ---------------------------------------------------------------------------------------------------------


def elsewhere(bundle):
    return replace(bundle, environment=bundle.environment.model_copy(update={"cpu": "aarch64 DEFAULT"}))


def test_in_another_environment_equality_is_neither_promised_nor_denied(bundle):
    found = verify(replace(elsewhere(bundle), history=flipped(bundle.history, "d_loss", 47)))
    document = found.document()
    assert (document["identical"], document["first_difference"], document["same_environment"]) == (None, None, False)
    assert document["scores"][60]["recorded"] == document["scores"][60]["again"] == bundle.scores_by_step[60]


def test_in_another_environment_a_difference_beyond_the_tolerance_is_told(bundle):
    values = bundle.history["d_loss"].to_pylist()
    for factor, told in ((1 + rerun.RTOL / 2, None), (1 + 2 * rerun.RTOL, 47)):
        changed = [v * factor if step == 47 else v for step, v in enumerate(values, start=1)]
        found = verify(replace(elsewhere(bundle), history=with_column(bundle.history, "d_loss", changed)))
        assert (found.first_difference or {}).get("step") == told
        assert found.identical is None


def test_what_differs_between_environments_is_told(bundle):
    here = bundle.environment
    lines = rerun.environment_difference(elsewhere(bundle).environment, here)
    assert lines == [f"cpu: recorded aarch64 DEFAULT, here {here.cpu}"]
    assert rerun.environment_difference(here, here) == []


def test_a_trial_that_went_on_elsewhere_is_compared_as_one_from_elsewhere(book, store):
    mixed = Book(study=book.study, trials={0: book.trials[0].copy()})
    first = book.trials[0].segments[0]
    here = first.result.environment
    result = first.result.model_copy(update={"environment": here.model_copy(update={"cpu": "aarch64 DEFAULT"})})
    mixed.trials[0].segments[0] = first.model_copy(update={"result": result})
    bundle = rerun.from_store(mixed, store, 0)
    assert bundle.environment.cpu == f"aarch64 DEFAULT, then {here.cpu}"
    assert bundle.environment.threads == here.threads
    found = verify(bundle)
    assert (found.identical, found.same_environment, found.first_difference) == (None, False, None)


# -- what cannot be compared -------------------------------------------------------------------------------------------


def test_other_data_are_a_conflict(bundle):
    other = replace(bundle, data=bundle.data | {"digest": "f" * 64})
    with pytest.raises(StateConflict, match=r"'ring8' here has digest .* was trained on ffffffffffff"):
        verify(other)


def test_a_trial_without_a_step_has_nothing_to_compare(store):
    book = Book()
    book.apply(journal.study())
    book.apply(journal.trial(0))
    with pytest.raises(ConfigError, match="trial 0 has trained no step"):
        rerun.from_store(book, store, 0)


def test_a_history_that_is_not_what_was_stored_is_named(tmp_path):
    store = open_store(tmp_path)
    book = record(store, segments=1, steps=30)
    digest = book.trials[0].segments[0].result.history
    (tmp_path / "blobs" / digest[:2] / digest).write_bytes(b"damaged")
    with pytest.raises(IntegrityError, match=digest):
        rerun.from_store(book, store, 0)


FLOATS = st.floats(width=32, allow_nan=False, allow_subnormal=False)


@given(values=st.lists(st.one_of(FLOATS, st.just(float("nan")), st.none()), min_size=1, max_size=8), data=st.data())
def test_a_history_equals_itself_and_nothing_with_another_bit(values, data):
    table = pa.table({"step": range(1, len(values) + 1), "d_loss": pa.array(values, pa.float32())})
    assert rerun.first_difference(table, table, exact=True) is None
    assert rerun.first_difference(table, table, exact=False) is None
    row = data.draw(st.integers(0, len(values) - 1))
    other = flipped(table, "d_loss", row + 1)
    difference = rerun.first_difference(table, other, exact=True)
    assert (difference and difference["step"]) == (None if values[row] is None else row + 1)


# -- trained here ------------------------------------------------------------------------------------------------------


def _failing(error):
    def make(_params):
        def detect(_window):
            raise error

        return detect

    return make


RAISES = Variant(
    kind="detector",
    name=f"{__name__}:RAISES",
    summary="raises",
    params=DetectorParams,
    make=_failing(ZeroDivisionError("boom")),
)
LEAVES = Variant(
    kind="detector", name=f"{__name__}:LEAVES", summary="leaves", params=DetectorParams, make=_failing(SystemExit(3))
)


@pytest.mark.parametrize(("name", "told"), [("RAISES", "ZeroDivisionError: boom"), ("LEAVES", "SystemExit: 3")])
def test_code_of_a_users_own_that_fails_is_named_with_its_line(bundle, name, told):
    own = {"stability": {f"{__name__}:{name}": {}}}
    config = TrainConfig.model_validate(bundle.spec.config.model_dump(mode="json") | own)
    with pytest.raises(UserError, match=rf"^the training failed: {told} at .*test_rerun\.py:\d+$"):
        rerun.train_here(bundle, config, unwatched)


def test_a_mistake_of_ours_is_not_taken_for_theirs(bundle):
    with pytest.raises(AttributeError):
        rerun.train_here(bundle, None, unwatched)


def test_train_here_gives_the_recorded_scores(bundle):
    seen = []
    segments = rerun.train_here(bundle, bundle.spec.config, seen.append)
    assert seen == segments
    assert {segment.stop: dict(segment.scores) for segment in segments} == bundle.scores_by_step


def test_what_is_kept_is_the_configuration_the_samples_and_the_generator(bundle, book, store, tmp_path):
    out = tmp_path / "new" / "folder"
    rerun.train_here(bundle, bundle.spec.config, rerun.keeper(out, bundle.spec.config))
    names = ["config.yaml", "generator.safetensors", *(f"samples-{step:08d}.png" for step in (30, 60, 90))]
    assert sorted(path.name for path in out.iterdir()) == names
    assert TrainConfig.model_validate(yaml.safe_load((out / "config.yaml").read_text())) == bundle.spec.config
    last = book.trials[0].segments[-1].result  # not the best one: a folder shows how the training ended
    kept, stored = (safetensors.torch.load(b) for b in ((out / names[1]).read_bytes(), store.get(last.generator)))
    assert kept.keys() == stored.keys()
    assert all(kept[key].equal(stored[key]) for key in kept)


def test_samples_that_cannot_be_drawn_are_kept_as_numbers(bundle, tmp_path):
    segment = next(iter(rerun.train_here(bundle, bundle.spec.config.model_copy(update={"steps": 2}), unwatched)))
    series = np.linspace(-1, 1, 128, dtype=np.float32).reshape(2, 1, 64)
    rerun.keeper(tmp_path, bundle.spec.config)(replace(segment, samples=series))
    assert not list(tmp_path.glob("*.png"))
    np.testing.assert_array_equal(np.load(tmp_path / "samples-00000002.npy"), series)


def test_without_a_folder_nothing_is_kept(bundle):
    segment = next(iter(rerun.train_here(bundle, bundle.spec.config.model_copy(update={"steps": 2}), unwatched)))
    rerun.keeper(None, bundle.spec.config)(segment)


# -- weights that were collected ---------------------------------------------------------------------------------------


@pytest.fixture
def collected(book, store, tmp_path):
    """The trial, pruned after it got worse, so that its best segment is not its last; a store without its weights."""
    worse = Book()
    worse.study, worse.config, worse.trials = book.study, book.config, {0: book.trials[0].copy()}
    trial = worse.trials[0]
    trial.state, trial.decision = TrialState.PRUNED, journal.decision(0, TrialState.PRUNED, best_index=1)
    bare = open_store(tmp_path)
    for segment in trial.segments:
        bare.put(store.get(segment.result.history))
    return worse, bare


def test_collected_weights_are_trained_again_to_the_best_segment(collected, store):
    book, bare = collected
    trial, said = book.trials[0], []
    weights = rerun.weights_of(book, bare, trial, said.append)
    assert weights == store.get(trial.segments[1].result.generator)
    assert weights != store.get(trial.segments[2].result.generator)
    assert said == ["trial 0's weights were collected; training it again (60 steps)"]
    with pytest.raises(IntegrityError):
        bare.get(trial.segments[1].result.generator)


def test_weights_that_are_there_are_taken(collected, store):
    book, said = collected[0], []
    assert rerun.weights_of(book, store, book.trials[0], said.append) == store.get(
        book.trials[0].segments[1].result.generator
    )
    assert said == []


def test_weights_that_should_be_there_are_missed(collected):
    book, bare = collected
    book.registrations.append(journal.registration(0))
    with pytest.raises(IntegrityError, match="missing"):
        rerun.weights_of(book, bare, book.trials[0], unwatched)


def claim(book, **changes):
    """Let the record of the best segment say something else."""
    best = book.trials[0].segments[1]
    book.trials[0].segments[1] = best.model_copy(update={"result": best.result.model_copy(update=changes)})


def test_other_weights_of_the_same_environment_are_refused(collected):
    book, bare = collected
    claim(book, generator="0" * 64)
    with pytest.raises(IntegrityError, match=r"trained again to step 60, gave generator \w+, not 0000"):
        rerun.weights_of(book, bare, book.trials[0], unwatched)


def test_other_weights_of_another_environment_are_used_and_it_is_said(collected, store):
    book, bare = collected
    real, said = book.trials[0].segments[1].result.generator, []
    elsewhere = book.trials[0].segments[1].result.environment.model_copy(update={"cpu": "aarch64"})
    claim(book, generator="0" * 64, environment=elsewhere)
    assert rerun.weights_of(book, bare, book.trials[0], said.append) == store.get(real)
    assert said[1] == "trial 0 was trained in another environment: these weights are not those that were scored"


def test_weights_are_not_trained_again_on_other_data(collected):
    book, bare = collected
    book.study = book.study.model_copy(update={"data": book.study.data | {"digest": "f" * 64}})
    with pytest.raises(StateConflict, match="was trained on ffffffffffff"):
        rerun.weights_of(book, bare, book.trials[0], unwatched)
