"""Dropout and noise inside a network: their numbers against SplitMix64, their layers against their formulas."""

import copy
import math

import numpy as np
import pytest
import torch
from torch import nn

from trainers.networks.stochastic import Dropout, Noise, layers, normal, reseed, uniform

WORD = 2**64 - 1
KEYS = [0, 1, 12345, 2**63 - 1, -1, -(2**63)]


def key_of(value):
    return torch.tensor(value, dtype=torch.int64)


def split_mix(seed, count):
    """Return SplitMix64's first words (Steele et al. 2014), in Python's whole numbers."""
    state, words = seed & WORD, []
    for _ in range(count):
        state = (state + 0x9E3779B97F4A7C15) & WORD
        z = state
        z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & WORD
        z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & WORD
        words.append(z ^ (z >> 31))
    return words


# -- numbers -----------------------------------------------------------------------------------------------------------


def test_the_reference_gives_the_published_words():
    """The first outputs of SplitMix64 from the seed 1234567, as its reference code prints them."""
    assert split_mix(1234567, 3) == [6457827717110365317, 3203168211198807973, 9817491932198370423]


@pytest.mark.parametrize("key", KEYS)
def test_uniform_numbers_are_the_upper_23_bits_of_split_mix(key):
    expected = [((word >> 41) + 0.5) / 2**23 for word in split_mix(key, 60)]
    found = uniform(key_of(key), (3, 4, 5))
    assert (found.shape, found.dtype) == ((3, 4, 5), torch.float32)
    assert found.flatten().tolist() == expected


@pytest.mark.parametrize("key", [7, 2**62 + 11])
def test_uniform_numbers_have_the_moments_and_the_evenness_of_the_unit_interval(key):
    """Each bound is passed by chance in fewer than 1 in 1e8 keys; the keys are fixed."""
    n, bins = 100_000, 100
    found = uniform(key_of(key), (n,)).double().numpy()
    assert abs(found.mean() - 1 / 2) < 6 * math.sqrt(1 / 12 / n)
    assert abs(found.var() - 1 / 12) < 6 * math.sqrt((1 / 80 - 1 / 144) / n)
    counts, _ = np.histogram(found, bins, (0, 1))
    chi_squared = ((counts - n / bins) ** 2 / (n / bins)).sum()
    # Wilson and Hilferty 1931: the cube root of chi squared / 99 is normal; beyond 6 of its deviations lie 1e-9.
    spread = math.sqrt(2 / (9 * (bins - 1)))
    assert abs((chi_squared / (bins - 1)) ** (1 / 3) - (1 - spread**2)) < 6 * spread
    assert abs(np.corrcoef(found[:-1], found[1:])[0, 1]) < 6 / math.sqrt(n)
    assert found.min() > 0
    assert found.max() < 1


def test_a_number_depends_on_its_key_and_its_place_alone():
    key = key_of(99)
    whole = uniform(key, (1000,))
    assert uniform(key, (10, 100)).flatten().equal(whole)
    for size in (1, 7, 64, 999):
        assert uniform(key, (size,)).equal(whole[:size])
    assert not uniform(key_of(100), (1000,)).equal(whole)


def test_normal_numbers_are_those_of_box_and_muller():
    one, two = np.array([((w >> 41) + 0.5) / 2**23 for w in split_mix(5, 48)]).reshape(24, 2).T
    expected = np.sqrt(-2 * np.log(one)) * np.cos(2 * math.pi * two)
    np.testing.assert_allclose(normal(key_of(5), (4, 6)).flatten().numpy(), expected, rtol=1e-4, atol=1e-5)


def test_the_first_normal_numbers_do_not_depend_on_how_many_follow():
    assert normal(key_of(9), (3, 4)).equal(normal(key_of(9), (10, 4))[:3])


def test_normal_numbers_have_the_moments_of_a_normal_distribution():
    """Each bound is passed by chance in fewer than 1 in 1e8 keys; the key is fixed."""
    n = 100_000
    found = normal(key_of(17), (n,)).double().numpy()
    assert abs(found.mean()) < 6 / math.sqrt(n)
    assert abs(found.var() - 1) < 6 * math.sqrt(2 / n)
    assert abs((found**4).mean() - 3) < 6 * math.sqrt(96 / n)
    share = math.erf(1 / math.sqrt(2))
    assert abs((np.abs(found) < 1).mean() - share) < 6 * math.sqrt(share * (1 - share) / n)


# -- layers ------------------------------------------------------------------------------------------------------------


def keyed(layer, key=3):
    reseed(layer, key_of(key))
    return layer


@pytest.mark.parametrize("p", [0.1, 0.5, 0.9])
def test_dropout_drops_a_share_and_keeps_the_mean(p):
    """Six standard deviations: a false failure in 5e8 keys; the key is fixed."""
    n = 100_000
    seen = keyed(Dropout(p, sampling=False))(torch.full((n,), 2.0))
    assert seen.unique().tolist() == [0.0, pytest.approx(2 / (1 - p))]
    assert abs((seen == 0).double().mean().item() - p) < 6 * math.sqrt(p * (1 - p) / n)
    assert abs(seen.double().mean().item() - 2) < 6 * 2 * math.sqrt(p / (1 - p) / n)


def test_dropout_drops_where_its_number_is_below_p_and_lets_no_gradient_through_there():
    layer = keyed(Dropout(0.3, sampling=False))
    inputs = torch.ones(5, 8, requires_grad=True)
    dropped = uniform(layer.key, (5, 8)) < 0.3
    seen = layer(inputs)
    assert (seen == 0).equal(dropped)
    (gradient,) = torch.autograd.grad(seen.sum(), inputs)
    torch.testing.assert_close(gradient, (~dropped).float() / 0.7)


@pytest.mark.parametrize(
    ("kind", "expected"), [("additive", lambda x, n: x + n), ("multiplicative", lambda x, n: x * (1 + n))]
)
def test_noise_is_added_or_multiplied(kind, expected):
    layer = keyed(Noise(kind, 0.25, sampling=True))
    inputs = torch.linspace(-3, 3, 60).view(3, 20)
    torch.testing.assert_close(layer(inputs), expected(inputs, 0.25 * normal(layer.key, (3, 20))))


MAKERS = [lambda sampling: Dropout(0.5, sampling=sampling), lambda sampling: Noise("additive", 1.0, sampling=sampling)]


@pytest.mark.parametrize("make", MAKERS, ids=["dropout", "noise"])
def test_a_layer_acts_in_training_and_in_evaluation_only_where_it_samples(make):
    inputs = torch.ones(50)
    for sampling in (False, True):
        layer = keyed(make(sampling))
        assert not layer(inputs).equal(inputs)
        layer.eval()
        assert layer(inputs).equal(inputs) is not sampling
        unkeyed = make(sampling)
        assert unkeyed(inputs).equal(inputs)
        assert unkeyed.eval()(inputs).equal(inputs)


def two():
    return nn.Sequential(
        Dropout(0.5, sampling=True), nn.Sequential(Noise("additive", 1.0, sampling=True)), nn.Identity()
    )


def test_layers_are_found_in_order_and_have_different_keys():
    network = two()
    assert [type(layer) for layer in layers(network)] == [Dropout, Noise]
    reseed(network, key_of(8))
    one, other = (layer.key for layer in layers(network))
    shape = (10_000,)
    agreement = np.corrcoef(uniform(one, shape), uniform(other, shape))[0, 1]
    assert abs(agreement) < 6 / math.sqrt(10_000)  # 1 in 5e8 keys by chance; the key is fixed
    assert not one.equal(other)


def test_two_layers_of_one_kind_get_different_masks_and_one_layer_another_with_each_key():
    network = nn.ModuleList([Dropout(0.5, sampling=True) for _ in range(6)])
    masks = []
    for key in (0, 1, 2**63 - 1):
        reseed(network, key_of(key))
        masks += [tuple(layer(torch.ones(200)).tolist()) for layer in network]
    assert len(set(masks)) == 18


def test_the_same_key_gives_the_same_pass_and_passes_have_no_state():
    network, inputs = two(), torch.ones(4, 30)
    reseed(network, key_of(5))
    first = network(inputs)
    assert network(inputs).equal(first)
    reseed(network, key_of(6))
    assert not network(inputs).equal(first)
    reseed(network, key_of(5))
    assert network(inputs).equal(first)
    assert network.state_dict() == {}
    assert copy.deepcopy(network)(inputs).equal(first)


def test_the_global_generator_is_neither_used_nor_moved():
    network, inputs = two(), torch.ones(4, 30)
    seen = []
    with torch.random.fork_rng(devices=[]):
        for seed in (1, 2):
            torch.manual_seed(seed)
            before = torch.get_rng_state()
            reseed(network, key_of(5))
            seen.append(network(inputs))
            assert torch.get_rng_state().equal(before)
    assert seen[0].equal(seen[1])
