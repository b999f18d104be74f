"""Samples of a generator, and pictures of them."""

import numpy as np
import pytest
import torch
from PIL import Image

from tests.fakes.trainings import DCGAN, run, tiny
from trainers import data
from trainers.generate import latents, load_generator, sample
from trainers.generate import run as run_generator
from trainers.picture import centres_of, picture, to_uint8, write_png


@pytest.fixture(scope="module", params=[{}, DCGAN], ids=["mlp", "dcgan"])
def trained(request):
    config = tiny(**request.param, steps=2)
    shape = data.load(config.data).shape
    return config, shape, run(config)[-1]


def test_a_loaded_generator_gives_the_same_samples_as_the_training(trained):
    config, shape, segment = trained
    generator = load_generator(config, shape, segment.generator())
    samples = sample(generator, config, 6, seed=1)
    assert (samples.shape, samples.dtype) == ((6, *shape), np.float32)
    again = load_generator(config, shape, segment.generator())
    np.testing.assert_array_equal(samples, sample(again, config, 6, seed=1))
    assert not np.array_equal(samples, sample(generator, config, 6, seed=2))


def test_it_is_in_evaluation_mode_so_that_a_sample_does_not_depend_on_the_others(trained):
    config, shape, segment = trained
    generator = load_generator(config, shape, segment.generator())
    assert not generator.training
    many = sample(generator, config, 6, seed=1)
    alone = run_generator(generator, latents(config, 6, 1)[:1])
    np.testing.assert_allclose(alone[0], many[0], atol=1e-6)


def test_loading_and_sampling_touch_no_global_generator(trained):
    config, shape, segment = trained
    before = torch.get_rng_state()
    sample(load_generator(config, shape, segment.generator()), config, 3, seed=1)
    assert torch.equal(torch.get_rng_state(), before)


def test_more_samples_than_a_batch_holds_come_in_order():
    config = tiny()
    generator = load_generator(config, (2,), run(config)[-1].generator())
    latent = latents(config, 1203, 4)
    whole = generator(torch.from_numpy(latent)).detach().numpy()
    np.testing.assert_allclose(run_generator(generator, latent), whole, atol=1e-6)


def test_weights_of_another_network_are_refused():
    weights = run(tiny())[-1].generator()
    with pytest.raises(RuntimeError, match="size mismatch"):
        load_generator(tiny(latent={"size": 4}), (2,), weights)


def test_bytes_of_images():
    values = np.array([-1, 0, 1, -3, 3, np.nan, np.inf, -np.inf], dtype=np.float32)
    assert to_uint8(values).tolist() == [0, 128, 255, 0, 255, 0, 255, 0]


def tiles(n, channels, size=8):
    """Return n images, each of one grey of its own."""
    greys = np.arange(1, n + 1, dtype=np.uint8) * 10
    return np.broadcast_to(greys[:, None, None, None], (n, channels, size, size)).copy()


@pytest.mark.parametrize(("channels", "mode"), [(1, "L"), (3, "RGB")])
def test_a_grid_shows_every_image_in_order_and_enlarged(channels, mode):
    image = picture(tiles(5, channels))
    side = 48 + 2
    assert (image.mode, image.size) == (mode, (3 * side, 2 * side))
    shown = np.asarray(image).reshape(2 * side, 3 * side, channels)[:, :, 0]
    assert [shown[row * side + 20, column * side + 20] for row in range(2) for column in range(3)] == [
        10, 20, 30, 40, 50, 0,
    ]  # fmt: skip


def test_images_in_floats_are_shown_like_their_bytes():
    floats = np.linspace(-1, 1, 2 * 64, dtype=np.float32).reshape(2, 1, 8, 8)
    assert picture(floats).tobytes() == picture(to_uint8(floats)).tobytes()


def test_points_are_shown_where_they_lie():
    shown = np.asarray(picture(np.array([[1.0, 1.0], [-1.0, 0.0]], dtype=np.float32)))
    dark = np.argwhere(shown == 0)
    assert shown.shape == (512, 512)
    rows, columns = dark.mean(axis=0) / 512
    assert len(dark) == 8
    up = dark[dark[:, 1] > 256]
    assert (up[:, 0] < 256).all(), "a positive second coordinate is above the middle"
    assert 0.3 < rows < 0.5
    assert 0.4 < columns < 0.6


def test_true_modes_are_faint_circles_around_where_they_lie():
    points = np.array([[1.0, 0.0]], dtype=np.float32)
    centres = centres_of(tiny())
    assert centres is not None
    assert centres.shape == (8, 2)
    with_modes, without = (np.asarray(picture(points, drawn)).astype(int) for drawn in (centres, None))
    rows, columns = np.nonzero(with_modes != without)
    assert set(with_modes[rows, columns]) == {160}, "no sample is drawn over"
    places = np.stack((columns + 0.5, 512 - rows - 0.5), axis=1) / 512 * 3 - 1.5
    away = np.linalg.norm(places[:, None] - centres, axis=2)
    assert away.min(axis=1).max() < 0.07
    assert set(away.argmin(axis=1)) == set(range(8))


def test_a_picture_of_points_has_a_frame():
    shown = np.asarray(picture(np.zeros((1, 2), dtype=np.float32)))
    for edge in (shown[0], shown[-1], shown[:, 0], shown[:, -1]):
        assert set(edge) == {160}


def test_a_picture_holds_modes_that_lie_beyond_all_samples():
    far = np.array([[4.0, -4.0]])
    shown, without = (np.asarray(picture(np.zeros((1, 2), np.float32), centres)) for centres in (far, far[:0]))
    assert (shown[480:, 480:] != without[480:, 480:]).any()


def test_data_that_are_no_mixture_have_no_modes():
    assert centres_of(tiny(data="digits", metrics=())) is None


@pytest.mark.parametrize("value", [np.nan, np.inf, 3e38, -3e38])
def test_points_of_a_diverged_generator_are_still_a_picture(value):
    points = np.array([[0.0, 0.0], [value, 1.0]], dtype=np.float32)
    assert (np.asarray(picture(points)) == 0).any()
    assert picture(np.full((3, 2), value, dtype=np.float32)).size == (512, 512)


def test_a_file_is_the_picture_and_the_same_bytes_each_time(tmp_path):
    write_png(tiles(4, 1), tmp_path / "a.png")
    write_png(tiles(4, 1), tmp_path / "b.png")
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
    with Image.open(tmp_path / "a.png") as image:
        assert image.tobytes() == picture(tiles(4, 1)).tobytes()


def test_numbers_on_a_line_are_points_too():
    shown = np.asarray(picture(np.array([[-1.0], [1.0]], dtype=np.float32)))
    rows, columns = np.nonzero(shown == 0)
    assert set(rows) == {256, 257}
    assert set(columns) == {85, 86, 426, 427}


@pytest.mark.parametrize("shape", [(4, 1, 64), (4, 5, 8, 8), (4, 1, 4, 4, 4)], ids=["series", "channels", "volumes"])
@pytest.mark.parametrize("kind", [np.uint8, np.float32])
def test_what_cannot_be_drawn_is_no_picture(tmp_path, shape, kind):
    assert picture(np.zeros(shape, dtype=kind)) is None
    assert not write_png(np.zeros(shape, dtype=kind), tmp_path / "a.png")
    assert not (tmp_path / "a.png").exists()


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_every_number_of_channels_that_a_picture_can_have_is_drawn(tmp_path, channels):
    assert write_png(tiles(4, channels), tmp_path / "a.png")
    with Image.open(tmp_path / "a.png") as image:
        assert len(image.getbands()) == channels
