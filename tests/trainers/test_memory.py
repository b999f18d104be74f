"""The memory of earlier samples, and the earlier checkpoint that plays for a player."""

import copy

import pytest
import torch
from torch import nn

from tests.fakes.trainings import DCGAN, run, said, state_of, tiny
from trainers import data, gan
from trainers.config import ReplayConfig, SwapConfig
from trainers.draws import Staged
from trainers.errors import ConfigError
from trainers.game import play
from trainers.lens import Lens
from trainers.memory import Earlier, Replay
from trainers.objectives.ebgan import pulling_away
from trainers.registry import find
from trainers.schedule import swapped

CPU = torch.device("cpu")


def fakes(step, rows=4):
    """Return samples that say when they were made: 100 step + row."""
    return (100 * step + torch.arange(rows, dtype=torch.float32))[:, None].repeat(1, 2)


def numbers(start, step):
    return {"replay_from": torch.tensor(start), "replay_to": torch.tensor(step)}


def played(replay, step, start=(0.0, 0.0), to=0.0):
    seen = replay.mix(fakes(step), numbers(list(start), to), step)
    replay.after(step)
    return seen[:, 0].tolist()


def kept(replay):
    return replay.kept[:, 0].tolist()


# -- replay ------------------------------------------------------------------------------------------------------------


def test_it_is_filled_in_a_row_and_then_overwritten_from_the_place_drawn_on():
    replay = Replay(ReplayConfig(size=5, share=0.5), 4, (2,))
    assert played(replay, 1) == [100, 101, 102, 103]
    assert kept(replay) == [100, 101, 0, 0, 0]
    assert played(replay, 2, (0.0, 0.99)) == [100, 101, 202, 203]
    assert kept(replay) == [100, 101, 200, 201, 0]
    assert played(replay, 3, (0.5, 0.75)) == [200, 201, 302, 303]
    assert kept(replay) == [301, 101, 200, 201, 300]  # the last free place, and then the first one
    assert played(replay, 4, (0.0, 0.999), to=0.41) == [301, 300, 402, 403]
    assert kept(replay) == [301, 101, 400, 401, 300]
    assert played(replay, 5, (0.4, 0.6), to=0.99) == [400, 401, 502, 503]
    assert kept(replay) == [501, 101, 400, 401, 500]


def test_nothing_is_put_into_it_before_the_move():
    replay = Replay(ReplayConfig(size=5, share=0.5), 4, (2,))
    replay.mix(fakes(1), numbers([0.0, 0.0], 0.0), 1)
    assert kept(replay) == [0] * 5


def test_only_samples_that_were_put_in_come_back():
    replay = Replay(ReplayConfig(size=7, share=0.75), 4, (2,))
    made = set()
    for step in range(1, 40):
        batch = Staged(replay.draws(), 3, step - 1, step, CPU).at(step)
        seen = replay.mix(fakes(step), batch, step)[:, 0].tolist()
        assert seen[3:] == [100 * step + 3]
        assert set(seen[:3]) <= (made if made else {100, 101, 102})
        replay.after(step)
        made |= {100 * step, 100 * step + 1, 100 * step + 2}
        assert set(kept(replay)) - {0} <= made
        if step > 1:
            assert all(value < 100 * step for value in seen[:3])
    assert 0 not in kept(replay)


@pytest.mark.parametrize(
    ("size", "share", "rows", "count"), [(100, 0.5, 8, 4), (100, 1.0, 8, 8), (3, 1.0, 8, 3), (100, 0.01, 8, 1)]
)
def test_as_many_are_taken_as_the_share_says_and_the_memory_holds(size, share, rows, count):
    replay = Replay(ReplayConfig(size=size, share=share), rows, (2,))
    assert {draw.name: (draw.prior, draw.shape) for draw in replay.draws()} == {
        "replay_from": ("unit", (count,)),
        "replay_to": ("unit", ()),
    }
    first = Staged(replay.draws(), 0, 0, 2, CPU)
    for step in (1, 2):
        seen = replay.mix(fakes(step, rows), first.at(step), step)
        replay.after(step)
    assert seen.shape == (rows, 2)
    assert (seen[:, 0] < 200).sum().item() == count


def test_places_are_taken_and_written_evenly_up_to_the_last():
    replay = Replay(ReplayConfig(size=4, share=0.25), 4, (2,))
    for step in range(1, 5):
        played(replay, step, [0.0])
    assert kept(replay) == [100, 200, 300, 400]
    below_one = 1 - 2**-24
    for place, number in enumerate([0.0, 0.25, 0.5, 0.75]):
        for unit in (number, number + 0.2499):
            assert replay.mix(fakes(9), numbers([unit], 0.0), 9)[0, 0].item() == 100 * (place + 1)
    assert replay.mix(fakes(9), numbers([below_one], below_one), 9)[0, 0].item() == 400
    replay.after(9)
    assert kept(replay) == [100, 200, 300, 900]


def test_what_it_keeps_is_in_the_checkpoint():
    config = tiny(replay={"size": 6, "share": 0.5}, segment_steps=3)
    segments = run(config)
    states = [state_of(segment).tensors["replay/kept"] for segment in segments]
    assert [int((state != 0).any(1).sum()) for state in states] == [6, 6, 6, 6]
    assert not states[0].equal(states[-1])
    one = state_of(run(config.model_copy(update={"steps": 1, "segment_steps": 1}))[0]).tensors["replay/kept"]
    assert int((one != 0).any(1).sum()) == 2  # two of four rows, in the first step


def test_d_sees_what_it_gives_and_keeps_no_graph():
    config = tiny(replay={"size": 6, "share": 0.5})
    game, batches = built(config, 2)
    play(game, 1, batches[1], lambda *_: None)
    memory = game.networks["replay"].kept.clone()
    assert not memory.requires_grad
    with torch.no_grad():
        fake = game.networks["generator"](batches[2]["latent_d"])
        places = (batches[2]["replay_from"] * 2).long()
        shown = torch.cat((memory[places], fake[2:]))
        expected = game.networks["discriminator"](shown).mean().item()
    _, signals = game.players[0].loss(batches[2], 2)
    assert said(signals)[1].mean().item() == pytest.approx(expected, rel=1e-5)


def built(config, steps):
    dataset = data.load(config.data)
    objective = find("objective", config.objective.name).load_make()(config.objective)
    game = gan.build(objective, config, dataset.shape, len(dataset.train), CPU)
    staged = Staged(game.draws, config.seed, 0, steps, CPU)
    train = torch.from_numpy(dataset.train)
    return game, {step: (batch := staged.at(step)) | {"real": train[batch["index"]]} for step in range(1, steps + 1)}


# -- an earlier checkpoint ---------------------------------------------------------------------------------------------


class Counting(nn.Module):
    """A network whose one weight and one buffer say how often it moved."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(()))
        self.register_buffer("seen", torch.zeros((), dtype=torch.int64))

    def forward(self, inputs):
        return inputs + self.weight

    def move(self):
        with torch.no_grad():
            self.weight.add_(1)
            self.seen.add_(1)


@pytest.mark.parametrize(("every", "steps"), [(10, 3), (10, 1), (4, 3), (2, 1), (7, 5)])
def test_the_copy_that_plays_is_as_old_as_every_less_steps_when_it_begins(every, steps):
    config = tiny(swap={"player": "discriminator", "every": every, "steps": steps})
    network = Counting()
    earlier = Earlier(network, config.swap)
    ages = {}
    for step in range(1, 6 * every + 1):
        before = earlier.copied.weight.item()
        network.move()
        earlier.after(step)
        if swapped(config, step):
            ages[step] = network.weight.item() - earlier.copied.weight.item()
            assert earlier.copied.weight.item() == before  # nor is it renewed in a step in which it plays
        assert earlier.copied.seen.item() == earlier.copied.weight.item()
    expected = {k * every + i: every - steps + i - 1 for k in range(1, 6) for i in range(1, steps + 1)}
    assert ages == expected


def test_it_is_no_part_of_what_is_trained_but_of_what_is_kept():
    network = Counting()
    earlier = Earlier(network, SwapConfig(player="generator"))
    assert not any(weight.requires_grad for weight in earlier.parameters())
    assert network.weight.requires_grad
    assert set(earlier.state_dict()) == {"copied.weight", "copied.seen"}
    network.move()
    assert (earlier.copied.weight.item(), earlier(torch.ones(())).item()) == (0, 1)


def test_the_input_of_the_copy_still_has_a_gradient():
    network = nn.Linear(2, 1, device="cpu")
    inputs = torch.ones(3, 2, requires_grad=True)
    (gradient,) = torch.autograd.grad(Earlier(network, SwapConfig()).forward(inputs).sum(), inputs)
    assert gradient.abs().sum() > 0


def move(player, batch, step):
    """Play one player alone, and return its loss and signals before it moved."""
    value, signals = player.loss(batch, step)
    for weight, gradient in zip(player.weights, torch.autograd.grad(value, list(player.weights)), strict=True):
        weight.grad = gradient
    player.before(step)
    player.optimizer.step()
    player.after(step)
    return value.item(), signals


@pytest.mark.parametrize("variant", [{}, DCGAN], ids=["mlp", "dcgan"])
@pytest.mark.parametrize("steps", [1, 2])
def test_g_is_judged_by_the_earlier_discriminator_in_each_step_of_a_swap_and_in_no_other(steps, variant):
    """Not even in the last one, in which D has already moved, is the copy renewed."""
    config = tiny(**variant, swap={"player": "discriminator", "every": 4, "steps": steps}, optim={"lr_d": 0.05})
    game, batches = built(config, 12)
    first, second = (phase[0] for phase in game.phases)
    assert (first.name, second.name) == ("discriminator", "generator")
    for step, batch in batches.items():
        move(first, batch, step)
        with torch.no_grad():
            fake = game.networks["generator"](batch["latent_g"])
            values = {
                name: nn.functional.softplus(-game.networks[name](fake)).mean().item()
                for name in ("earlier", "discriminator")
            }
        value, _ = move(second, batch, step)
        plays, rests = ("earlier", "discriminator") if swapped(config, step) else ("discriminator", "earlier")
        assert value == pytest.approx(values[plays], rel=1e-5)
        if (step - 1) % 4 != steps:  # where the copy has just been renewed
            assert value != pytest.approx(values[rests], rel=1e-4)


def test_d_is_shown_the_earlier_generators_samples_in_each_step_of_a_swap_and_in_no_other():
    config = tiny(swap={"player": "generator", "every": 4, "steps": 2}, optim={"lr_g": 0.05})
    game, batches = built(config, 12)
    first, second = (phase[0] for phase in game.phases)
    current = game.networks["generator"]
    copied = copy.deepcopy(current)  # our own: kept in the third step of each four, after D has moved
    for step, batch in batches.items():
        with torch.no_grad():
            answers = {
                which: game.networks["discriminator"](network(batch["latent_d"])).mean().item()
                for which, network in (("copied", copied), ("current", current))
            }
        _, signals = move(first, batch, step)
        plays = "copied" if swapped(config, step) else "current"
        assert said(signals)[1].mean().item() == pytest.approx(answers[plays], rel=1e-5)
        if swapped(config, step):
            assert answers["copied"] != pytest.approx(answers["current"], rel=1e-4)
        if step % 4 == 3:
            copied = copy.deepcopy(current)
        move(second, batch, step)


def test_an_earlier_auto_encoder_judges_energy_and_code():
    config = tiny(
        objective={"name": "ebgan", "pull_away": 0.5, "code": 2},
        swap={"player": "discriminator", "every": 4, "steps": 2},
        optim={"lr_d": 0.05},
    )
    game, batches = built(config, 10)
    first, second = (phase[0] for phase in game.phases)
    judged = 0
    for step, batch in batches.items():
        move(first, batch, step)
        if swapped(config, step):
            with torch.no_grad():
                fake = game.networks["generator"](batch["latent_g"])
                judges = (game.networks["earlier"].copied, game.networks["discriminator"])
                said = [judge.judge(fake) for judge in judges]
                values = [(energy.mean() + 0.5 * pulling_away(code)).item() for energy, code in said]
            judged += 1
            assert second.loss(batch, step)[0].item() == pytest.approx(values[0], rel=1e-5)
            assert values[0] != pytest.approx(values[1], rel=1e-4)
        move(second, batch, step)
    assert judged > 1


def test_the_memory_gives_nothing_before_the_first_fakes_after_pre_training():
    config = tiny(objective={"name": "ebgan", "pretrain": 5}, replay={"size": 6, "share": 0.5})
    game, batches = built(config, 6)
    for step in range(1, 6):
        play(game, step, batches[step], lambda *_: None)
    with torch.no_grad():
        fake = game.networks["generator"](batches[6]["latent_d"])
        expected = game.networks["discriminator"](fake).mean().item()
    _, signals = game.players[0].loss(batches[6], 6)
    assert said(signals)[1].mean().item() == pytest.approx(expected, rel=1e-5)


def test_g_of_a_relativistic_game_sees_real_samples_through_the_same_lens():
    config = tiny(objective="relativistic", instance_noise={"std": 1.0, "decay_steps": 100}, updates="simultaneous")
    game, batches = built(config, 1)
    seen = Lens(config, (2,), None)
    with torch.no_grad():
        d = game.networks["discriminator"]
        real = d(seen(batches[1]["real"], "real", batches[1], 1))
        fake = d(seen(game.networks["generator"](batches[1]["latent_d"]), "d", batches[1], 1))
        plain = d(batches[1]["real"])
    value = game.players[1].loss(batches[1], 1)[0].item()
    assert value == pytest.approx(nn.functional.softplus(real - fake).mean().item(), rel=1e-5)
    assert value != pytest.approx(nn.functional.softplus(plain - fake).mean().item(), rel=1e-4)


def test_a_memory_that_no_checkpoint_should_hold_is_refused():
    Replay(ReplayConfig(size=2**16), 4, (64, 64))
    with pytest.raises(ConfigError, match=r"replay.size must keep at most 1024 MiB .* 65537 samples of 4096 numbers"):
        Replay(ReplayConfig(size=2**16 + 1), 4, (64, 64))
