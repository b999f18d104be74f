"""Random numbers as a function of (seed, stream, step)."""

import itertools
import random

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from trainers.draws import ROOM, Draw, Staged, blocks, every, generator, numbers

CPU = torch.device("cpu")
DRAWS = (
    Draw(name="latent_d", prior="normal", shape=(3, 2)),
    Draw(name="latent_g", prior="uniform", shape=(3, 2), due=every(3)),
    Draw(name="mix", prior="unit", shape=(3,), due=every(2)),
    Draw(name="index", prior="index", shape=(3,), high=100),
)
SEEDS = st.integers(0, 2**64 - 1)
LAST = 20


def first(seed, stream="latent", step=1):
    return generator(seed, stream, step).standard_normal(8).tolist()


@settings(max_examples=50, deadline=None)
@given(SEEDS, st.sets(st.integers(1, LAST - 1)))
def test_no_split_of_the_steps_into_segments_changes_a_number(seed, cuts):
    bounds = [0, *sorted(cuts), LAST]
    for start, stop in itertools.pairwise(bounds):
        staged = Staged(DRAWS, seed, start, stop, CPU)
        for step in range(start + 1, stop + 1):
            batch = staged.at(step)
            assert set(batch) == {draw.name for draw in DRAWS if draw.due(step)}
            for draw in DRAWS:
                if draw.name in batch:
                    np.testing.assert_array_equal(batch[draw.name].numpy(), draw.numbers(seed, step))


@given(st.integers(0, 30), st.integers(1, 40), st.integers(1, 2_000))
def test_blocks_take_each_step_once_and_no_more_room_than_they_may(start, steps, room):
    runs = list(blocks(DRAWS, start, start + steps, room))
    assert [step for before, last in runs for step in range(before + 1, last + 1)] == [
        *range(start + 1, start + steps + 1)
    ]
    for before, last in runs:
        staged = Staged(DRAWS, 0, before, last, CPU)
        batches = [staged.at(step) for step in range(before + 1, last + 1)]
        taken = sum(tensor.nbytes for batch in batches for tensor in batch.values())
        assert len(batches) == 1 or taken <= room


def test_a_segment_with_little_noise_is_one_block():
    assert list(blocks(DRAWS, 0, 500)) == [(0, 500)]


def test_noise_for_many_large_images_is_staged_in_pieces():
    noise = Draw(name="noise_d", prior="normal", shape=(64, 3, 32, 32))
    runs = list(blocks((noise,), 0, 500))
    assert len(runs) > 1
    assert max(last - before for before, last in runs) * 64 * 3 * 32 * 32 * 4 <= ROOM


def test_numbers_that_are_needed_elsewhere_go_there():
    staged = Staged(DRAWS, 0, 0, 6, CPU, {"index": torch.device("meta")}).at(6)
    assert {name: tensor.device.type for name, tensor in staged.items()} == {
        "latent_d": "cpu",
        "latent_g": "cpu",
        "mix": "cpu",
        "index": "meta",
    }


@given(SEEDS, SEEDS)
def test_different_seeds_give_different_numbers(one, other):
    assert (first(one) == first(other)) == (one == other)


def test_seeds_that_agree_in_their_low_32_bits_differ():
    assert first(7) != first(7 + 2**32)
    assert first(7) != first(7 + 2**63)


def test_streams_and_steps_differ():
    numbers_ = [first(1), first(1, stream="latent_g"), first(1, step=2), first(1, stream="latent_g", step=2)]
    assert len({tuple(row) for row in numbers_}) == 4


def test_long_draws_do_not_run_into_the_next_step():
    long = generator(1, "latent", 1).random(100_000)
    assert not np.isin(generator(1, "latent", 2).random(100), long).any()


def test_global_generators_play_no_part():
    before = first(3)
    random.seed(1)
    np.random.seed(1)
    torch.manual_seed(1)
    states = random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state()
    assert first(3) == before
    assert random.getstate() == states[0]
    assert np.random.get_state()[1].tolist() == states[1]
    assert torch.equal(torch.get_rng_state(), states[2])


N = 200_000


@pytest.mark.parametrize(
    ("prior", "low", "high", "mean", "variance", "fourth"),
    [
        ("normal", -np.inf, np.inf, 0, 1, 3),
        ("uniform", -1, 1, 0, 1 / 3, 1 / 5),
        ("unit", 0, 1, 0.5, 1 / 12, 1 / 80),
        ("index", 0, 10, 4.5, 8.25, 120.8625),
    ],
)
def test_priors_have_their_range_and_moments(prior, low, high, mean, variance, fourth):
    # Six standard errors: each of the two bounds fails once in 5e8 seeds; the seed is fixed.
    drawn = numbers(generator(11, prior), prior, (N,), 10)
    assert drawn.dtype == (np.int64 if prior == "index" else np.float32)
    assert drawn.min() >= low
    assert drawn.max() < high
    x = drawn.astype(np.float64) - mean
    assert abs(x.mean()) < 6 * np.sqrt(variance / N)
    assert abs((x**2).mean() - variance) < 6 * np.sqrt((fourth - variance**2) / N)


@pytest.mark.parametrize("other", [("latent_g", 1, 5), ("latent_d", 2, 5), ("latent_d", 1, 6)])
def test_neighbouring_streams_steps_and_seeds_are_uncorrelated(other):
    stream, step, seed = other
    one = generator(5, "latent_d", 1).standard_normal(N)
    two = generator(seed, stream, step).standard_normal(N)
    # Six standard errors: once in 5e8 seeds; the seed is fixed.
    assert abs((one * two).mean()) < 6 / np.sqrt(N)


def test_an_index_reaches_every_row():
    # A row of 100 is missed by 20,000 draws with probability 100 * 0.99**20000 < 1e-84.
    assert np.unique(numbers(generator(0, "index"), "index", (20_000,), 100)).tolist() == list(range(100))


PINNED_NORMAL = ["-0x1.8c885c0000000p-3", "0x1.1127f60000000p+1", "-0x1.931e2a0000000p+0"]
PINNED_INDEX = [154, 1265, 956, 848]


def test_the_numbers_are_pinned():
    """A change here changes the bits of every training that was ever recorded."""
    drawn = Draw(name="latent_d", prior="normal", shape=(3,)).numbers(2**63 - 1, 1000)
    assert [value.hex() for value in drawn.tolist()] == PINNED_NORMAL
    index = Draw(name="index", prior="index", shape=(4,), high=1437).numbers(0, 1)
    assert index.tolist() == PINNED_INDEX
