"""Penalties in a game: lazy ones, packs, signals, configurations."""

import pytest
import torch

from tests.fakes.trainings import DCGAN_WITHOUT_NORM, column, run, tiny
from trainers import data, gan
from trainers.config import TrainConfig
from trainers.draws import Staged
from trainers.registry import find, known

OF_SLOPES = ("gradient", "gradient_one_sided", "r1", "r2", "r1_r2", "dragan")
WEIGHTED = (*OF_SLOPES, "l2")


def played(name, every, lambda_=5.0, **changes):
    """Return a discriminator that never moves, and its batches of twelve steps."""
    config = tiny(penalty={"name": name, "lambda": lambda_, "every": every}, **changes)
    dataset = data.load(config.data)
    objective = find("objective", config.objective.name).load_make()(config.objective)
    game = gan.build(objective, config, dataset.shape, len(dataset.train), torch.device("cpu"))
    staged = Staged(game.draws, config.seed, 0, 12, torch.device("cpu"))
    train = torch.from_numpy(dataset.train)
    batches = {step: (batch := staged.at(step)) | {"real": train[batch["index"]]} for step in range(1, 13)}
    (player,) = (player for player in game.players if player.name == "discriminator")
    return player, batches


def added(player, batch, step):
    """Return what stands in D's loss beside the adversarial one, and its signals."""
    loss, signals = player.loss(batch, step)
    return (loss - signals["d_loss"]).item(), signals


@pytest.mark.parametrize("name", WEIGHTED)
def test_a_lazy_penalty_is_there_at_every_kth_step_and_weighs_as_much_more(name):
    lazy, batches = played(name, 3)
    for step, batch in batches.items():
        more, signals = added(lazy, batch, step)
        if step % 3:
            assert more == 0
            assert "penalty" not in signals
        else:
            assert more == pytest.approx(3 * signals["penalty"].item(), rel=1e-4)
            assert more != 0


@pytest.mark.parametrize("name", WEIGHTED)
def test_a_lazy_penalty_adds_in_the_mean_what_an_eager_one_does(name):
    """On the same batch at each step the sums over twelve steps are equal, of the loss and of its gradient."""
    (lazy, batches), (eager, _) = (played(name, every) for every in (4, 1))
    batch = batches[12]  # with draws of the lazy one too
    terms, norms = {}, {}
    for which, player in (("lazy", lazy), ("eager", eager)):
        weights = list(player.weights)
        found = [player.loss(batch, step) for step in range(1, 13)]
        terms[which] = sum((loss - signals["d_loss"]).item() for loss, signals in found)
        gradients = torch.autograd.grad(sum(loss for loss, _ in found), weights)
        norms[which] = torch.linalg.vector_norm(torch.cat([gradient.flatten() for gradient in gradients])).item()
    assert terms["eager"] > 0
    assert terms["lazy"] == pytest.approx(terms["eager"], rel=1e-4)
    assert norms["lazy"] == pytest.approx(norms["eager"], rel=1e-4)


@pytest.mark.parametrize("changes", [{"pack": 3}, DCGAN_WITHOUT_NORM | {"pack": 2}], ids=["points", "images"])
@pytest.mark.parametrize("name", WEIGHTED)
def test_a_pack_is_one_sample(name, changes):
    player, batches = played(name, 1, **changes)
    more, signals = added(player, batches[1], 1)
    assert more == pytest.approx(signals["penalty"].item(), rel=1e-3)
    assert more > 0 or name == "gradient_one_sided"  # whose slopes are below 1 at first
    assert batches[1]["real"].shape[0] == 4 * changes["pack"]
    assert {len(batches[1][key]) for key in ("mix", "perturbation") if key in batches[1]} <= {4}


def test_its_signals_are_in_the_history_of_the_steps_at_which_it_is_computed():
    segments = run(tiny(penalty={"name": "r1", "every": 4}))
    for name in ("penalty", "interpolate_norm"):
        assert [step for step, value in enumerate(column(segments, name), 1) if value is not None] == [4, 8, 12]
    segments = run(tiny(penalty="l2"))
    assert None not in column(segments, "penalty")
    assert set(column(segments, "interpolate_norm")) == {None}


def test_every_shipped_penalty_is_looked_at_here():
    assert {variant.name for variant in known("penalty")} >= {"none", *WEIGHTED}
    assert {name for name in WEIGHTED if tiny(penalty=name).penalty.of_input_gradients} == set(OF_SLOPES)
    assert not tiny().penalty.of_input_gradients


def test_a_weight_is_called_lambda_and_round_trips():
    for name in WEIGHTED:
        config = tiny(penalty={"name": name, "lambda": 2.5, "every": 2})
        assert (config.penalty.lambda_, config.penalty.every) == (2.5, 2)
        assert TrainConfig.model_validate_json(config.model_dump_json()) == config
