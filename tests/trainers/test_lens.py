"""What D sees of samples: augmentation against plain loops, noise, packs."""

import numpy as np
import pytest
import torch

from tests.fakes.trainings import DCGAN, tiny
from trainers import data, gan
from trainers.draws import Staged, every
from trainers.errors import ConfigError
from trainers.lens import Lens, cut_out, translated
from trainers.registry import find

CPU = torch.device("cpu")
IMAGE = (2, 6, 5)
# From 0 to just below 1, as float32 can say it.
GRID = np.float32([0.0, 0.1, 0.25, 0.49, 0.5, 0.75, 0.9, np.nextafter(np.float32(1), np.float32(0))])


def images(n, shape=IMAGE, key=0):
    drawn = np.random.Generator(np.random.Philox(key=key)).standard_normal((n, *shape))
    return np.where(drawn == 0, 1, drawn)


def every_pair():
    return np.stack(np.meshgrid(GRID, GRID, indexing="ij"), -1).reshape(-1, 2)


def half_up(value):
    return int(np.floor(value + 0.5))


def shifted(image, down, right):
    _, height, width = image.shape
    moved = np.zeros_like(image)
    for row in range(height):
        for column in range(width):
            if 0 <= row - down < height and 0 <= column - right < width:
                moved[:, row, column] = image[:, row - down, column - right]
    return moved


def offset(unit, reach):
    return int(np.floor(np.float64(unit) * (2 * reach + 1))) - reach


# -- translation -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("share", [0.0, 0.1, 0.2, 0.5, 1.0])
def test_a_translation_is_a_plain_shift_that_fills_up_with_zeros(share):
    pairs = every_pair()
    batch = images(len(pairs))
    seen = translated(torch.from_numpy(batch), torch.from_numpy(pairs), share).numpy()
    reach = half_up(share * 6), half_up(share * 5)
    for image, (down, right), ours in zip(batch, pairs, seen, strict=True):
        np.testing.assert_array_equal(ours, shifted(image, offset(down, reach[0]), offset(right, reach[1])))


def test_all_shifts_within_reach_are_drawn_evenly():
    unit = np.repeat(np.float32([(np.arange(700) + 0.5) / 700]).T, 2, axis=1)
    marked = np.zeros((700, 1, 8, 8))
    marked[:, 0, 4, 4] = 1
    seen = translated(torch.from_numpy(marked), torch.from_numpy(unit), 3 / 8).numpy()
    places = seen.reshape(700, 64).argmax(1)
    counts = {int(place) % 8 - 4: int(n) for place, n in zip(*np.unique(places, return_counts=True), strict=True)}
    assert counts == dict.fromkeys(range(-3, 4), 100)


def test_an_eighth_of_a_small_side_is_a_pixel_and_not_none():
    marked = np.zeros((1, 1, 4, 4))
    marked[0, 0, 1, 1] = 1
    assert translated(torch.from_numpy(marked), torch.full((1, 2), 0.99), 1 / 8)[0, 0, 2, 2] == 1


# -- cutout ------------------------------------------------------------------------------------------------------------


def cut(image, unit, share):
    kept = image.copy()
    spans = []
    for side, number in zip(image.shape[1:], unit, strict=True):
        length = half_up(share * side)
        places = side + (1 if length % 2 == 0 else 0)
        begin = int(np.floor(np.float64(number) * places)) - length // 2
        spans.append([place for place in range(begin, begin + length) if 0 <= place < side])
    for row in spans[0]:
        for column in spans[1]:
            kept[:, row, column] = 0
    return kept


@pytest.mark.parametrize("share", [0.0, 0.2, 0.5, 0.6, 1.0])
def test_a_cutout_is_a_plain_rectangle_of_zeros(share):
    pairs = every_pair()
    batch = images(len(pairs))
    seen = cut_out(torch.from_numpy(batch), torch.from_numpy(pairs), share).numpy()
    for image, unit, ours in zip(batch, pairs, seen, strict=True):
        np.testing.assert_array_equal(ours, cut(image, unit, share))


@pytest.mark.parametrize("share", [3 / 8, 1 / 2])
def test_it_hides_opposite_sides_equally_often(share):
    unit = np.repeat(np.float32([(np.arange(720) + 0.5) / 720]).T, 2, axis=1)
    unit[:, 1] = 0.5
    seen = cut_out(torch.ones(720, 1, 8, 8), torch.from_numpy(unit), share)
    hidden = (seen[:, 0, :, 4] == 0).sum(0).numpy()
    np.testing.assert_array_equal(hidden, hidden[::-1])
    assert hidden.min() > 0


# -- the whole lens ----------------------------------------------------------------------------------------------------


def drawn(lens, step=1, seed=0):
    return Staged(lens.draws(), seed, step - 1, step, CPU).at(step)


def test_it_translates_then_cuts_then_adds_noise_then_packs():
    changes = {"pack": 2, "augment": {"translation": 0.25, "cutout": 0.5}, "instance_noise": {"std": 0.3}}
    lens = Lens(tiny(**DCGAN, **changes), IMAGE, every(1))
    batch, samples = drawn(lens), images(8)
    seen = lens(torch.from_numpy(samples), "real", batch, 1).numpy()
    unit, noise = batch["augment_real"].numpy(), batch["noise_real"].double().numpy()
    expected = [
        cut(shifted(image, offset(u[0], 2), offset(u[1], 1)), u[2:], 0.5) + 0.3 * n
        for image, u, n in zip(samples, unit, noise, strict=True)
    ]
    np.testing.assert_allclose(seen, np.stack(expected).reshape(4, 4, 6, 5), rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("shape", [(2,), IMAGE])
@pytest.mark.parametrize("pack", [1, 3])
def test_a_pack_holds_samples_that_follow_one_another_one_after_the_other(pack, shape):
    lens = Lens(tiny(pack=pack), shape, every(1))
    samples = images(4 * pack, shape)
    seen = lens(torch.from_numpy(samples), "d", {}, 1).numpy()
    assert lens.packed == seen.shape[1:] == (pack * shape[0], *shape[1:])
    for i, shown in enumerate(seen):
        np.testing.assert_array_equal(shown, np.concatenate(samples[i * pack : (i + 1) * pack]))


def test_without_anything_it_shows_samples_as_they_are():
    lens = Lens(tiny(), (2,), every(1))
    samples = torch.from_numpy(images(4, (2,)))
    assert lens.draws() == ()
    assert lens(samples, "g", {}, 1).equal(samples)


def test_noise_falls_to_nothing_along_a_line_and_is_drawn_no_longer():
    lens = Lens(tiny(instance_noise={"std": 0.8, "decay_steps": 4}), (2,), every(1))
    zeros = torch.zeros(4, 2)
    for step, std in zip(range(1, 8), [0.8, 0.6, 0.4, 0.2, 0, 0, 0], strict=True):
        batch = drawn(lens, step)
        assert ("noise_d" in batch) == (std > 0)
        expected = std * batch["noise_d"] if std else zeros
        torch.testing.assert_close(lens(zeros, "d", batch, step), expected)
    assert not any(draw.due(5) for draw in lens.draws())


def test_noise_that_does_not_decay_stays():
    lens = Lens(tiny(instance_noise={"std": 0.8}), (2,), every(1))
    batch = drawn(lens, 10**6)
    torch.testing.assert_close(lens(torch.zeros(4, 2), "real", batch, 10**6), 0.8 * batch["noise_real"])


TRICKS = {"augment": {"translation": 0.25, "cutout": 0.25}, "instance_noise": {"std": 0.3}}


def test_every_role_has_numbers_of_its_own_g_those_of_its_steps_alone():
    draws = {draw.name: draw for draw in Lens(tiny(**DCGAN, **TRICKS, pack=2), IMAGE, every(3)).draws()}
    assert {name: (draw.prior, draw.shape) for name, draw in draws.items()} == {
        **{f"noise_{role}": ("normal", (8, *IMAGE)) for role in ("real", "d", "g")},
        **{f"augment_{role}": ("unit", (8, 4)) for role in ("real", "d", "g")},
    }
    for name, draw in draws.items():
        assert [step for step in range(1, 7) if draw.due(step)] == ([3, 6] if name.endswith("_g") else [*range(1, 7)])
    shared = Lens(tiny(**DCGAN, **TRICKS), IMAGE, None)
    assert {draw.name for draw in shared.draws()} == {"noise_real", "noise_d", "augment_real", "augment_d"}
    batch, samples = drawn(shared), torch.from_numpy(images(4))
    assert shared(samples, "g", batch, 1).equal(shared(samples, "d", batch, 1))
    assert not shared(samples, "g", batch, 1).equal(shared(samples, "real", batch, 1))


def test_the_gradient_of_a_pixel_is_1_where_it_is_seen_and_0_where_it_is_not():
    pairs = torch.from_numpy(every_pair())
    batch = torch.from_numpy(images(len(pairs))).requires_grad_(True)
    seen = cut_out(translated(batch, pairs, 0.5), pairs.flip(0), 0.5)
    (gradient,) = torch.autograd.grad(seen.sum(), batch)
    assert set(gradient.unique().tolist()) == {0.0, 1.0}
    # Every number is another one, so that what is seen says which pixels it shows.
    for image, shown, slope in zip(batch.detach(), seen.detach(), gradient, strict=True):
        assert torch.isin(image, shown[shown != 0]).double().equal(slope)


@pytest.mark.parametrize("which", TRICKS)
def test_g_is_judged_by_samples_seen_through_the_lens_and_learns_through_it(which):
    config = tiny(**DCGAN, **{which: TRICKS[which]})
    dataset = data.load(config.data)
    objective = find("objective", config.objective.name).load_make()(config.objective)
    game = gan.build(objective, config, dataset.shape, len(dataset.train), CPU)
    batch = Staged(game.draws, config.seed, 0, 1, CPU).at(1)
    (player,) = (player for player in game.players if player.name == "generator")
    value, _ = player.loss(batch, 1)
    fake = game.networks["generator"](batch["latent_g"])
    if which == "augment":
        unit = batch["augment_g"]
        fake = cut_out(translated(fake, unit[:, :2], 0.25), unit[:, 2:], 0.25)
    else:
        fake = fake + 0.3 * batch["noise_g"]
    expected = torch.nn.functional.softplus(-game.networks["discriminator"](fake)).mean()
    assert value.item() == pytest.approx(expected.item(), rel=1e-5)
    gradients = torch.autograd.grad(value, list(player.weights))
    wanted = torch.autograd.grad(expected, list(player.weights))
    for ours, theirs in zip(gradients, wanted, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-7)
    assert any(gradient.abs().max() > 0 for gradient in gradients)


@pytest.mark.parametrize("augment", [{"translation": 0.1}, {"cutout": 0.1}])
def test_points_cannot_be_augmented(augment):
    with pytest.raises(ConfigError, match="augment must not be set with samples that are no images"):
        Lens(tiny(augment=augment), (2,), every(1))
