"""The data sets that are drawn from a formula: swiss_roll, gaussian_1200d, dirac, polygons and stacked_digits."""

import math

import numpy as np
import pytest

from tests.fakes.trainings import run
from trainers.config import TrainConfig
from trainers.data import load, points, polygons, stacked
from trainers.data.polygons import SIDE, SUBPIXELS, corners, filled
from trainers.params.data import PolygonsParams, StackedDigitsParams
from trainers.picture import picture
from trainers.registry import Params, find

SETS = {
    "swiss_roll": (points.make_swiss_roll, Params(name="swiss_roll"), (100_000, 10_000, (2,))),
    "gaussian_1200d": (points.make_gaussian_1200d, Params(name="gaussian_1200d"), (10_000, 2_000, (1200,))),
    "dirac": (points.make_dirac, Params(name="dirac"), (1_000, 100, (1,))),
    "polygons": (polygons.make, PolygonsParams(train=300, held_out=60), (300, 60, (1, 28, 28))),
    "stacked_digits": (stacked.make, StackedDigitsParams(), (12_800, 2_600, (3, 8, 8))),
}


@pytest.mark.parametrize("name", SETS)
def test_a_data_set_is_the_same_in_each_call_whatever_the_global_generators_hold(name):
    make, params, (train, held_out, shape) = SETS[name]
    np.random.seed(1)
    first = make(params)
    np.random.seed(2)
    assert make(params).digest == first.digest
    assert (first.name, len(first.train), len(first.held_out), first.shape) == (name, train, held_out, shape)
    assert first.licence


@pytest.mark.parametrize("name", [name for name in SETS if name != "dirac"])
def test_no_sample_is_in_both_parts(name):
    make, params, _ = SETS[name]
    data = make(params)
    held_out = {sample.tobytes() for sample in data.held_out}
    assert not held_out & {sample.tobytes() for sample in data.train}
    assert len(held_out) > 0.99 * len(data.held_out)


@pytest.mark.parametrize("name", SETS)
def test_a_short_training_has_a_finite_score_and_a_picture(name):
    network = {"name": "mlp", "width": 8, "depth": 1}
    small = {"steps": 20, "segment_steps": 10, "batch_size": 8, "evaluation": {"samples": 50}, "device": "cpu"}
    config = TrainConfig.model_validate({"data": name, "network": network} | small)
    segments = run(config)
    assert [segment.stop for segment in segments] == [10, 20]
    for segment in segments:
        metric, score = next(iter(segment.scores.items()))
        assert metric == load(config.data).metric
        assert math.isfinite(score)
        assert score > 0
    assert picture(segments[-1].samples).size[0] > 100


@pytest.mark.parametrize("name", SETS)
def test_the_registry_tells_a_metric_that_can_score_it(name):
    data = load(find("data", name).load_params()(name=name))
    assert find("metric", data.metric).samples in (None, find("data", name).samples)
    assert data.is_image == (find("data", name).samples in ("images", "stacked digits"))


# -- points ------------------------------------------------------------------------------------------------------------


def test_the_swiss_roll_lies_on_its_spiral():
    """A point is at radius t/7.5 where its angle is t modulo a turn, up to noise of 0.25/7.5 along each axis.

    What the noise adds to the distance from the spiral's nearest turn is close to normal; 6 of its std are exceeded by
    one of 110,000 points in 4e3 data sets, and this one is fixed.
    """
    data = load(Params(name="swiss_roll"))
    x, y = data.train.astype(np.float64).T * 7.5
    turns = np.arctan2(y, x)[:, None] + 2 * np.pi * np.arange(4)
    radius = np.hypot(x, y)
    inside = (turns > 1.5 * np.pi - 0.3) & (turns < 4.5 * np.pi + 0.3)
    away = np.where(inside, np.abs(turns - radius[:, None]), np.inf).min(axis=1)
    assert away.max() < 6 * 0.25 * 1.1
    assert np.sqrt(np.mean(away**2)) == pytest.approx(0.25, rel=0.05)
    histogram = np.histogram(radius, bins=10, range=(1.5 * np.pi, 4.5 * np.pi))[0] / len(radius)
    assert np.abs(histogram - 0.1).max() < 0.02  # t is uniform, but for what the noise carries over both ends
    assert data.metric == "sliced_wasserstein"
    assert data.modes is None


def test_the_ten_gaussians_have_their_means_and_unit_noise():
    """Means and variances of 700 coordinates in 10 modes: 7,000 numbers, of which 6 standard errors bound each."""
    data = load(Params(name="gaussian_1200d"))
    assert (data.train[:, 700:] == 0).all()
    assert np.unique(data.train_labels).tolist() == list(range(10))
    means = np.stack([data.train[data.train_labels == mode, :700].mean(axis=0) for mode in range(10)])
    noise = data.held_out[:, :700] - means[data.held_out_labels]
    assert np.abs(noise.mean(axis=0)).max() < 6 / np.sqrt(1500)
    assert np.abs(noise.std(axis=0) - 1).max() < 6 / np.sqrt(2 * 1900)
    apart = np.linalg.norm(means[:, None] - means, axis=2)[~np.eye(10, dtype=bool)]
    assert np.abs(apart / np.sqrt(2 * 700) - 1).max() < 0.2
    shares = np.bincount(data.train_labels, minlength=10) / 10_000
    assert np.abs(shares - 0.1).max() < 6 * 0.003


def test_dirac_is_nothing_but_zeros():
    data = load(Params(name="dirac"))
    assert (data.train == 0).all()
    assert (data.held_out == 0).all()


def test_numbers_on_a_line_and_points_of_many_dimensions_are_shown_by_their_first_two():
    line = np.asarray(picture(np.array([[1.0], [-1.0]], dtype=np.float32)))
    plane = np.asarray(picture(np.array([[1.0, 0.0], [-1.0, 0.0]], dtype=np.float32)))
    many = np.zeros((2, 1200), dtype=np.float32)
    many[:, 0], many[:, 2:] = (1, -1), 100
    assert (line == plane).all()
    assert (np.asarray(picture(many)) == plane).all()
    assert (line == 0).sum() == 8


# -- stacked digits ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("part", ["train", "held_out"])
def test_a_stack_is_three_digits_of_its_part_and_its_label_is_their_number(part):
    digits, data = load(Params(name="digits")), load(StackedDigitsParams())
    known = {
        image.tobytes(): label
        for image, label in zip(getattr(digits, part), getattr(digits, f"{part}_labels").tolist(), strict=True)
    }
    read = [[known[channel.tobytes()] for channel in stack[:, None]] for stack in getattr(data, part)]
    assert [100 * a + 10 * b + c for a, b, c in read] == getattr(data, f"{part}_labels").tolist()


def test_stacks_have_a_thousand_modes_about_equally_often():
    """12,800 stacks are 12.8 a mode: a mode has none with a probability of 3e-6, one of 1,000 with 0.3 %."""
    data = load(StackedDigitsParams())
    counts = np.bincount(data.train_labels, minlength=1000)
    assert len(counts) == 1000
    assert counts.min() > 0
    assert counts.max() < 40
    assert data.metric == "stacked_modes"


def test_more_stacks_can_be_asked_for():
    data = load(StackedDigitsParams(train=20, held_out=7))
    assert (len(data.train), len(data.held_out)) == (20, 7)


# -- polygons ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("params", [PolygonsParams(), PolygonsParams(vertices=5, min_angle=40, scale=0.5)])
def test_corners_make_convex_polygons_without_sharp_angles_in_the_middle_of_the_image(params):
    polygon = corners(params, 2500)
    assert polygon.shape == (2500, params.vertices, 2)
    edges = np.roll(polygon, -1, axis=1) - polygon
    before = np.roll(edges, 1, axis=1)
    heading = np.arctan2(edges[..., 1], edges[..., 0])
    turn = (heading - np.arctan2(before[..., 1], before[..., 0])) % (2 * np.pi)
    assert (turn < np.pi).all()
    assert np.allclose(turn.sum(axis=1), 2 * np.pi)  # once around
    assert np.degrees(np.pi - turn).min() >= params.min_angle - 1e-9
    assert np.degrees(np.pi - turn).min() < params.min_angle + 1
    margin = SIDE * (1 - params.scale) / 2
    assert polygon.min() >= margin
    assert polygon.max() <= SIDE - margin
    assert polygon.min() < margin + 0.5


@pytest.mark.parametrize("vertices", [3, 6])
def test_a_pixel_is_its_share_of_points_inside(vertices):
    """Every one of 224x224 points is compared with every edge."""
    polygon = corners(PolygonsParams(vertices=vertices), 12)
    places = (np.arange(SIDE * SUBPIXELS) + 0.5) / SUBPIXELS
    x, y = np.meshgrid(places, places)
    for image, shape in zip(filled(polygon)[:, 0], polygon, strict=True):
        inside = np.ones_like(x, dtype=bool)
        for (ax, ay), (bx, by) in zip(shape, np.roll(shape, -1, axis=0), strict=True):
            inside &= (bx - ax) * (y - ay) - (by - ay) * (x - ax) > 0
        expected = 2 * inside.reshape(SIDE, SUBPIXELS, SIDE, SUBPIXELS).mean(axis=(1, 3)) - 1
        assert np.array_equal(image, expected.astype(np.float32))


def test_a_polygon_with_level_edges_is_filled():
    square = np.array([[[4.0, 6.0], [12.0, 6.0], [12.0, 20.0], [4.0, 20.0]]])
    expected = np.full((SIDE, SIDE), -1.0)
    expected[6:20, 4:12] = 1
    assert np.array_equal(filled(square)[0, 0], expected)


def test_polygons_are_all_different_and_none_is_missing():
    data = load(PolygonsParams(name="polygons"))
    assert (data.train.shape, data.held_out.shape) == ((10_000, 1, 28, 28), (2_000, 1, 28, 28))
    covered = ((data.train + 1) / 2).sum(axis=(1, 2, 3))
    assert covered.min() > 0
    assert (data.train.min(), data.train.max()) == (-1, 1)
    levels = (data.train + 1) * 32
    assert (levels == np.rint(levels)).all()
    assert len({image.tobytes() for image in data.train}) > 9_990
