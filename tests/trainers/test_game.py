"""One step of a game: who moves when, and on whose gradients."""

from dataclasses import replace

import pytest
import torch

from trainers.draws import every as due
from trainers.game import Game, Player, play


class Table:
    """Scalar players of min over x, max over y of x * y, whose moves can be worked out by hand."""

    def __init__(self, *, simultaneous=False, every=1, after=lambda _: None):
        self.x, self.y = (torch.tensor([1.0], requires_grad=True) for _ in range(2))
        one = self.player("x", self.x, lambda _: (self.x * self.y).sum())
        two = self.player("y", self.y, lambda _: -(self.x * self.y).sum(), every=every, after=after)
        phases = ((one, two),) if simultaneous else ((one,), (two,))
        self.game = Game(networks={}, phases=phases, draws=(), sampler="x")
        self.reports = []

    def player(self, name, weight, loss, every=1, after=lambda _: None):
        return Player(
            name=name,
            weights=[weight],
            optimizer=torch.optim.SGD([weight], lr=0.1),
            due=due(every),
            every=every,
            signals=(f"loss_{name}", f"norm_{name}"),
            loss=lambda batch, _: (value := loss(batch), {f"loss_{name}": value.detach()}),
            after=after,
        )

    def play(self, step=1):
        play(self.game, step, {}, lambda p, values, _: self.reports.append((p.name, [v.item() for v in values])))
        return self.x.item(), self.y.item()


def test_alternating_players_see_the_move_before_theirs():
    assert Table().play() == pytest.approx((0.9, 1 + 0.1 * 0.9))


def test_simultaneous_players_do_not():
    assert Table(simultaneous=True).play() == pytest.approx((0.9, 1.1))


def test_a_player_moves_at_the_multiples_of_its_every_only():
    table = Table(every=3)
    moved = []
    for step in range(1, 7):
        before = table.y.item()
        table.play(step)
        moved.append(table.y.item() != before)
    assert moved == [False, False, True, False, False, True]


def test_each_player_reports_its_loss_and_its_gradient_norm_before_the_move():
    table = Table()
    table.play()
    assert [name for name, _ in table.reports] == ["x", "y"]
    assert table.reports[0][1] == pytest.approx([1.0, 1.0])
    assert table.reports[1][1] == pytest.approx([-0.9, 0.9])


def test_a_constraint_holds_after_the_move():
    table = Table()
    bounded = torch.tensor([1.0], requires_grad=True)

    def after(_):
        with torch.no_grad():
            bounded.clamp_(max=1.05)

    player = table.player("b", bounded, lambda _: -bounded.sum(), after=after)
    play(Game(networks={}, phases=((player,),), draws=(), sampler="b"), 1, {}, lambda *_: None)
    assert bounded.item() == pytest.approx(1.05)


def test_there_may_be_three_players_in_one_phase():
    table = Table()
    weights = [torch.tensor([float(i)], requires_grad=True) for i in (1, 2, 3)]
    product = lambda _: torch.stack(weights).prod()  # noqa: E731
    players = tuple(table.player(str(i), weight, product) for i, weight in enumerate(weights))
    game = Game(networks={}, phases=(players,), draws=(), sampler="0")
    play(game, 1, {}, lambda *_: None)
    assert [w.item() for w in weights] == pytest.approx([1 - 0.6, 2 - 0.3, 3 - 0.2])
    assert game.players == players


def test_the_batch_reaches_the_loss():
    table, seen = Table(), []
    weight = torch.tensor([1.0], requires_grad=True)
    player = table.player("w", weight, lambda batch: (seen.append(batch["real"]), weight.sum())[1])
    real = torch.ones(2)
    play(Game(networks={}, phases=((player,),), draws=(), sampler="w"), 1, {"real": real}, lambda *_: None)
    assert seen == [real]


def test_a_player_that_moves_only_above_a_loss_stays_whole_below_it():
    weight = torch.tensor([2.0], requires_grad=True)

    def loss(_batch, _step):
        value = weight.square().sum()
        return value, {"loss": value.detach()}

    adam = torch.optim.Adam([weight], lr=1.0)
    player = Player(
        name="w",
        weights=[weight],
        optimizer=adam,
        signals=("loss", "norm"),
        loss=loss,
        above=3.0,
        before=lambda step: adam.param_groups[0].update(lr=1.0 / step),
    )
    game, seen = Game(networks={}, phases=((player,),), draws=(), sampler="w"), []
    for step in (1, 2, 3):
        play(game, step, {}, lambda _, values, __: seen.append([value.item() for value in values]))
        state = {key: value.clone() for key, value in adam.state[weight].items()}
        if step == 1:
            once = (weight.item(), state)
    assert once[0] == pytest.approx(1.0)  # the loss was 4; Adam's first step is as long as its rate
    assert weight.item() == once[0]  # the loss is 1
    assert all(torch.equal(state[key], value) for key, value in once[1].items())
    assert [told[0] for told in seen] == pytest.approx([4.0, 1.0, 1.0])


def test_a_first_step_that_is_taken_back_leaves_the_optimizer_as_before_any():
    weight = torch.tensor([1.0], requires_grad=True)
    adam = torch.optim.Adam([weight], lr=0.1)

    def loss(_batch, _step):
        value = weight.sum()
        return value, {"loss": value.detach()}

    player = Player(name="w", weights=[weight], optimizer=adam, signals=("loss", "norm"), loss=loss, above=5.0)
    play(Game(networks={}, phases=((player,),), draws=(), sampler="w"), 1, {}, lambda *_: None)
    assert weight.item() == 1.0
    assert all(value.abs().sum() == 0 for value in adam.state[weight].values())


def test_a_lazy_signal_is_told_at_its_own_steps_only():
    table = Table(every=2)
    _, two = table.game.players
    rare = replace(two, signals=("loss_y", "rare", "norm_y"), lazy={"rare": 3})
    assert [step for step in range(1, 13) if rare.reports("rare", step)] == [6, 12]
    assert [step for step in range(1, 7) if rare.reports("loss_y", step)] == [2, 4, 6]


def test_the_owner_of_the_sampler_is_the_player_that_moves_it():
    x, y = torch.nn.Linear(1, 1), torch.nn.Linear(1, 1)
    sgd = torch.optim.SGD
    players = [
        Player(
            name=name,
            weights=list(net.parameters()),
            optimizer=sgd(net.parameters(), lr=0.1),
            signals=(),
            loss=lambda *_: (torch.zeros(()), {}),
        )
        for name, net in (("one", x), ("two", y))
    ]
    game = Game(networks={"x": x, "y": y}, phases=((players[0],), (players[1],)), draws=(), sampler="y")
    assert game.owner is players[1]
