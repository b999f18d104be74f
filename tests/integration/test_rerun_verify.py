"""A trial trains again to the same bits, from the store or from its MLflow run alone; a flipped bit is found."""

from __future__ import annotations

import shutil
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from pipeline.journal import with_digest
from pipeline.store import DiskStore, open_store
from tests.command_line import document, gansearch, refusal, together
from tests.finished_search import BEST, PRUNED, ZERO
from trainers.history_file import from_bytes, to_bytes


def identical(trial: int, steps: int) -> dict[str, Any]:
    """What `rerun --verify` prints where all is well."""
    found = {"trial": trial, "steps_compared": steps, "identical": True}
    return found | {"first_difference": None, "same_environment": True}


def test_a_completed_and_a_diverged_trial_train_again_to_the_same_bits(finished, tmp_path):
    before = finished.book
    run_id = finished.document["best"]["run_id"]
    alone = ("--tracking-uri", finished.tracking_uri, "--verify", "--format", "json")
    numbers = (BEST, ZERO)
    done = together(
        lambda: gansearch("rerun", run_id, *alone, cwd=tmp_path),  # from its run alone: there is no store here
        lambda: finished.run("rerun", str(ZERO), "--verify", "--format", "json"),
    )
    for number, one in zip(numbers, done, strict=True):
        assert document(one) == identical(number, before.trials[number].steps)
    assert [before.trials[number].state.value for number in numbers] == ["completed", "diverged"]
    assert list(tmp_path.iterdir()) == []
    assert finished.book == before


@pytest.mark.slow
def test_a_variation_of_a_trial_keeps_its_samples_and_weights(finished, tmp_path):
    run_id = finished.document["best"]["run_id"]
    args = ("--tracking-uri", finished.tracking_uri, "--steps", "40", "--out", "kept", "--format", "json")
    told = document(gansearch("rerun", run_id, *args, cwd=tmp_path))
    assert (told["trial"], told["steps"], told["out"]) == (BEST, 40, "kept")
    assert {path.name for path in tmp_path.iterdir()} == {"kept"}
    kept = {path.name for path in (tmp_path / "kept").iterdir()}
    assert kept == {"config.yaml", "generator.safetensors", "samples-00000040.png"}


@pytest.mark.slow
def test_a_pruned_trial_trains_again_too_and_another_seed_is_another_training(finished):
    args = ("rerun", str(PRUNED), "--verify", "--format", "json")
    again, done = together(lambda: finished.run(*args), lambda: finished.run(*args, "--set", "seed=1"))
    assert finished.book.trials[PRUNED].state.value == "pruned"
    assert document(again) == identical(PRUNED, 120)
    told = document(done, code=3)
    assert told["identical"] is False
    assert told["first_difference"]["step"] == 1
    assert "differs" in done.stderr


def test_a_flipped_bit_is_found_where_it_was_recorded_and_where_it_rotted(finished, tmp_path):
    digest = finished.book.trials[ZERO].segments[0].result.history
    recorded, rotted = (
        open_store(shutil.copytree(finished.folder / "store", tmp_path / name)) for name in ("recorded", "rotted")
    )
    history = from_bytes(recorded.get(digest))
    replace_in_journal(recorded, digest, recorded.put(to_bytes(flipped(history, "grad_norm_g", row=69))))
    flip_in_blob(rotted, digest)
    args = ("rerun", str(ZERO), "--verify", "--format", "json", "--store")
    found, refused = together(
        lambda: gansearch(*args, "recorded", cwd=tmp_path), lambda: gansearch(*args, "rotted", cwd=tmp_path)
    )
    told = document(found, code=3)
    difference = told["first_difference"]
    assert told["identical"] is False
    assert (difference["step"], difference["signal"]) == (70, "grad_norm_g")
    ours, theirs = (np.float32(float.fromhex(difference[key])) for key in ("recorded", "again"))
    assert abs(int(ours.view(np.int32)) - int(theirs.view(np.int32))) == 1
    message = refusal(refused, 6)
    assert digest in message
    assert "corrupt" in message


def flip_in_blob(store: DiskStore, digest: str) -> None:
    blob = store.path / "blobs" / digest[:2] / digest
    data = bytearray(blob.read_bytes())
    data[len(data) // 2] ^= 1
    blob.write_bytes(data)


def flipped(table: pa.Table, name: str, row: int) -> pa.RecordBatch:
    """The same history with the last bit of one value flipped."""
    column = table[name].combine_chunks()
    values = column.fill_null(0).to_numpy().copy()
    assert column[row].is_valid
    values.view(np.uint32)[row] ^= 1
    changed = pa.array(values, mask=column.is_null().to_numpy(zero_copy_only=False), from_pandas=False)
    [batch] = table.set_column(table.column_names.index(name), name, changed).combine_chunks().to_batches()
    return batch


def replace_in_journal(store: DiskStore, before: str, after: str) -> None:
    """Let the journal name another blob, as if it had always been so: the objects' digests are right again."""
    places = [path for path in (store.path / "studies").rglob("*.jsonl") if before in path.read_text()]
    assert len(places) == 1
    body = b"".join(places[0].read_bytes().splitlines(keepends=True)[:-1])
    places[0].write_bytes(with_digest(body.replace(before.encode(), after.encode())))
