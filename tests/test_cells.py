"""The matrix of `make matrix`: that every pair meets, that every cell can be built, and that twelve of them train."""

from __future__ import annotations

import math
from itertools import combinations
from typing import Any

import pyarrow as pa
import pytest

from benchmarks import cells
from benchmarks.matrix import DETECTORS, SETTING, Cell, cell, page
from pipeline.book import Trial
from pipeline.config import load, train_config
from pipeline.records import TrialState
from tests.fakes import journal
from trainers.checks import refusals
from trainers.config import TrainConfig
from trainers.loop import Training, train
from trainers.registry import known
from trainers.stability.events import Event

# Every objective, every penalty and every network once at least.
TRAINED = {
    "ring8": (
        "minimax+r1+mlp",
        "maximum_likelihood+clip+pacgan",
        "loss_sensitive+gradient_one_sided+pacgan",
        "f_gan_pearson+dragan+pacgan",
        "relativistic+r1_r2+pacgan",
        "vae+none+mlp",
    ),
    "digits": (
        "non_saturating+r2+mlp",
        "hinge+spectral+resnet",
        "wasserstein+gradient+dcgan",
        "least_squares+l2+resnet",
        "ebgan+none+resnet",
        "began+none+pacgan",
    ),
}


def training(data: str, cell: str, *sets: str) -> TrainConfig:
    """Return what `make matrix` trains in a cell."""
    options = {"study": "m", "data": data, "space": f"benchmarks.cells:{data.upper()}"}
    return train_config(load(None, (*SETTING, *DETECTORS, *sets), options), {"space": cell}, seed=0)


@pytest.mark.parametrize("data", cells.SPACES)
def test_every_two_of_the_objectives_the_penalties_and_the_networks_meet(data: str):
    parts = [tuple(branch.name.split("+")) for branch in cells.SPACES[data].branches]
    networks = {"ring8": cells.POINTS, "digits": cells.IMAGES}[data]
    axes = (tuple(cells.OBJECTIVES), tuple(cells.PENALTIES), tuple(networks))
    impossible = {("spectral", "pacgan")}  # it has no layers to normalise
    for first, second in combinations(range(3), 2):
        met = {(cell[first], cell[second]) for cell in parts}
        wanted = {(a, b) for a in axes[first] for b in axes[second]} - impossible
        assert wanted - met == set()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("data", "cell"), [(data, branch.name) for data, space in cells.SPACES.items() for branch in space.branches]
)
def test_every_cell_can_be_built(data: str, cell: str):
    config = training(data, cell, "metrics=[]")
    assert refusals(config) == ()
    Training(config, None)


def test_who_calls_a_cell_stable():
    assert cells.stable("hinge+spectral+dcgan") == "Miyato 2018"
    assert cells.stable("hinge+r2+dcgan") is None
    names = {branch.name for space in cells.SPACES.values() for branch in space.branches}
    for objectives, penalties, _ in cells.STABLE:
        assert {f"{o}+{p}" for o in objectives for p in penalties} <= {name.rpartition("+")[0] for name in names}


@pytest.mark.slow
@pytest.mark.parametrize(("data", "cell"), [(data, cell) for data, chosen in TRAINED.items() for cell in chosen])
def test_twelve_cells_train_for_200_steps(data: str, cell: str):
    changes = ("steps=200", "segment_steps=100", "evaluation.samples=64", "evaluation.grid=4", "metrics=[]")
    segments = list(train(training(data, cell, *changes)))
    assert [segment.stop for segment in segments] == [100, 200]
    assert [event.kind for segment in segments for event in segment.events if event.action == "stop"] == []
    for segment in segments:
        losses = [value for name in ("d_loss", "g_loss") for value in segment.history.column(name).to_pylist()]
        assert all(value is None or math.isfinite(value) for value in losses)
        assert math.isfinite(float(segment.samples.std()))


def test_the_twelve_cells_hold_every_objective_every_penalty_and_every_network():
    chosen = [cell.split("+") for some in TRAINED.values() for cell in some]
    assert len(chosen) == 12
    for data, some in TRAINED.items():
        assert set(some) <= {branch.name for branch in cells.SPACES[data].branches}
    objectives = cells.WITHOUT_D | cells.OBJECTIVES
    used = {objectives[objective]["objective.name"] for objective, _, _ in chosen}
    assert used == {variant.name for variant in known("objective")}
    assert {penalty for _, penalty, _ in chosen} == set(cells.PENALTIES)
    assert {network for _, _, network in chosen} == set(cells.IMAGES)


CELL = "hinge+spectral+mlp"


def ended(state: TrialState, *scores: float, **result: Any) -> Trial:
    """A trial of a cell that was scored so at the ends of its segments."""
    record = journal.trial(0)
    found = Trial(spec=record.spec.model_copy(update={"params": {"space": CELL}}))
    found.apply(journal.attempt(0), 0)
    for index, score in enumerate(scores):
        more = result if index == len(scores) - 1 else {}
        found.apply(journal.segment(0, index, 500 * index, 500 * (index + 1), score, **more), index + 1)
    found.apply(journal.decision(0, state), len(scores) + 1)
    return found


HISTORY = pa.table({"step": [1, 2, 3], "d_loss": [0.5, 3.0, 0.25], "grad_norm_g": pa.array([None, 7.0, None])})


def of(trial: Trial, history: pa.Table = HISTORY) -> Cell:
    """What became of a trial whose generator scored 5 before training."""
    return cell(trial, 5.0, "frechet", history)


@pytest.mark.parametrize(("scores", "improved"), [((3.0, 2.0), "yes"), ((1.0, 6.0), "no"), ((3.0, 5.0), "no")])
def test_a_cell_has_improved_if_its_last_score_is_below_that_of_the_untrained_generator(scores, improved):
    found = of(ended(TrialState.COMPLETED, *scores))
    row = (
        f"| hinge | spectral | mlp | 5 | {min(scores):.3g} | {scores[-1]:.3g} | {improved} | completed | Miyato 2018 |"
    )
    assert row in page({"ring8": ([found], 2.0)})


def test_a_cell_that_failed_has_not_improved_and_says_why():
    event = Event(kind="exploding_gradient", step=665, severity=0.5, action="stop")
    found = of(ended(TrialState.DIVERGED, 1.0, events=(event,)))
    without = of(ended(TrialState.FAILED), pa.table({}))
    assert not found.improved
    assert not without.improved
    text = page({"ring8": ([found, without], 2.0)})
    assert "| 5 | 1 | 1 | no | diverged: exploding_gradient at step 665 | Miyato 2018 |" in text
    assert "| 5 |  |  | no | failed: because | Miyato 2018 |" in text
    evidence = text.partition("cells that failed")[2]
    assert "| hinge, spectral, mlp | diverged: exploding_gradient at step 665 | 0.5 |  |  |  |  | 7 | Miyat" in evidence
    assert "| hinge, spectral, mlp | failed: because |  |  |  |  |  |  | Miyato 2018 |" in evidence


@pytest.mark.parametrize(
    ("scores", "became"), [((3.0, 6.0), "worse at the end than before"), ((6.0, 7.0), "never better than untrained")]
)
def test_a_cell_that_came_to_its_end_and_did_not_improve_says_when_it_was_lost(scores, became):
    text = page({"ring8": ([of(ended(TrialState.COMPLETED, *scores))], 2.0)})
    assert f"| hinge, spectral, mlp | {became} | 0.5 " in text.partition("cells that failed")[2]


def test_the_page_counts_what_the_literature_calls_stable():
    found = [of(ended(TrialState.COMPLETED, score)) for score in (3.0, 0.5, 6.0)]
    text = page({"ring8": (found, 2.0)})
    assert (
        "3 cells: 3 completed. Of 3 that the literature calls stable, 2 improved over the untrained generator, " in text
    )
    assert "and 1 ended below 2, the score of a Gaussian" in text
    assert "ebgan with pacgan `network.init=he`; " in text
