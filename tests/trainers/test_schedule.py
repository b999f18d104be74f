"""At which steps G moves, and at which an earlier checkpoint plays."""

import random

import pytest

from tests.fakes.trainings import tiny
from trainers.schedule import generator_due, swapped


def due_steps(steps, pretrain=0, **changes):
    due = generator_due(tiny(**changes), pretrain)
    return [step for step in range(1, steps + 1) if due(step)]


def wgan_code(steps, updates, n_critic, again_every, regular):
    """Return G's steps of a loop in the form of WGAN's training script, counting D updates."""
    found, step, generator_updates = [], 0, 0
    while True:
        warm = generator_updates < updates or (again_every and generator_updates % again_every == 0)
        step += n_critic if warm else regular
        if step > steps:
            return found
        found.append(step)
        generator_updates += 1


@pytest.mark.parametrize("n_critic", [1, 2, 5])
def test_without_a_warm_up_g_moves_after_every_n_critic(n_critic):
    assert due_steps(20, n_critic=n_critic) == list(range(n_critic, 21, n_critic))


def test_the_warm_up_of_wgans_code():
    found = due_steps(8000, n_critic=5, warmup={"updates": 25, "n_critic": 100, "again_every": 500})
    assert found[:25] == list(range(100, 2501, 100))
    assert found[25:28] == [2505, 2510, 2515]
    assert found[499] == 2500 + 5 * 475  # the 500th update; before the next one D has 100 moves again
    assert found[500:503] == [found[499] + 100, found[499] + 105, found[499] + 110]
    assert found[1000] == found[999] + 100
    assert found == wgan_code(8000, 25, 100, 500, 5)


@pytest.mark.parametrize("warmup", [(3, 4, 0), (0, 7, 3), (2, 3, 2), (0, 2, 1), (5, 1, 0), (1, 10, 4)])
@pytest.mark.parametrize("n_critic", [1, 3])
def test_any_warm_up_is_the_loop_of_wgans_code(warmup, n_critic):
    updates, warm, again = warmup
    found = due_steps(200, n_critic=n_critic, warmup={"updates": updates, "n_critic": warm, "again_every": again})
    assert found == wgan_code(200, updates, warm, again, n_critic)


@pytest.mark.parametrize("warmup", [{}, {"updates": 2, "n_critic": 4}])
def test_g_waits_while_d_is_trained_alone(warmup):
    without = due_steps(30, n_critic=3, warmup=warmup)
    assert due_steps(37, pretrain=7, n_critic=3, warmup=warmup) == [step + 7 for step in without]


@pytest.mark.parametrize("pretrain", [0, 11])
@pytest.mark.parametrize("warmup", [{}, {"updates": 25, "n_critic": 100, "again_every": 50}])
def test_the_answer_does_not_depend_on_what_was_asked_before(warmup, pretrain):
    config = tiny(n_critic=5, warmup=warmup)
    in_order = due_steps(4000, pretrain, n_critic=5, warmup=warmup)
    order = list(range(1, 4001))
    random.Random(0).shuffle(order)
    shared = generator_due(config, pretrain)
    assert sorted(step for step in order if shared(step)) == in_order
    # A fresh one, as after a resume, that is asked for late steps alone.
    assert [step for step in range(3001, 4001) if generator_due(config, pretrain)(step)] == [
        step for step in in_order if step > 3000
    ]


def test_it_is_false_at_step_0():
    assert not generator_due(tiny(warmup={"updates": 2}), 0)(0)


def test_a_swap_is_in_the_first_steps_of_every_period_but_the_first():
    config = tiny(swap={"player": "generator", "every": 10, "steps": 3})
    assert [step for step in range(1, 35) if swapped(config, step)] == [11, 12, 13, 21, 22, 23, 31, 32, 33]
