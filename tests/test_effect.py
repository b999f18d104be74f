"""What `make effect` makes of searches: steps to a target, and the ratio of both arms."""

from __future__ import annotations

import pytest

from benchmarks.effect import BUDGET, Outcome, both, page, progress, ratio, search, until


def outcome(arm="with", seed=0, best=(3.0, 2.0, 1.0), failing=0):
    steps = [BUDGET * place // 4 for place in range(1, len(best) + 1)]
    return Outcome("halving", "ring8", arm, seed, steps, list(best), failing, {"completed": 3})


def test_a_target_is_reached_by_the_first_score_as_good_and_never_after_the_budget():
    assert until(outcome(), 2.0) == BUDGET // 2
    assert until(outcome(), 0.5) == BUDGET
    assert until(outcome(best=(None, None, 1.0)), 2.0) == BUDGET * 3 // 4
    assert until(outcome(best=(3.0,) * 4 + (1.0,)), 1.0) == BUDGET


def test_the_ratio_is_of_medians_and_its_interval_holds_it():
    middle, low, high = ratio([10.0, 20.0, 30.0], [20.0, 60.0, 50.0])
    assert middle == 2.5
    assert low <= middle <= high
    assert ratio([5.0, 7.0], [5.0, 7.0]) == (1.0, 1.0, 1.0)


def test_the_page_compares_the_seeds_that_both_arms_have():
    both = [outcome(arm, seed) for arm in ("with", "without") for seed in range(3)]
    slower = [outcome("without", seed, best=(3.0, 2.0, 2.0, 1.0), failing=400) for seed in range(3)]
    lone = [outcome("with", 9, best=(0.0,))]
    (row,) = [line for line in page([*both[:3], *slower, *lone]).splitlines() if line.startswith("| halving")]
    cells = [cell.strip() for cell in row.split("|")[1:-1]]
    assert cells[:5] == ["halving", "ring8", "3", "1", "1"]
    assert [float(cell.replace(",", "")) for cell in cells[5:7]] == [BUDGET * 0.75, BUDGET]
    assert cells[7:9] == ["0", "400"]
    assert cells[-2:] == ["1.33 (1.33 to 1.33)", f"{BUDGET / (BUDGET - 400):.2f}"]


def test_progress_is_where_the_best_score_got_better_and_the_end():
    told = [(250, None), (250, 3.0), (100, 4.0), (250, 2.0), (250, None)]
    assert progress(told) == ([500, 850, 1100], [3.0, 2.0, 2.0])
    assert progress([(250, None)]) == ([250], [None])


@pytest.mark.slow
def test_a_search_ends_with_its_budget_and_tells_the_best_so_far():
    found = search("halving", "ring8", "with", 0, budget=2000)
    assert found.steps == sorted(found.steps)
    assert 2000 <= found.steps[-1] < 2000 + 250
    told = [score for score in found.best if score is not None]
    assert told == sorted(told, reverse=True)
    assert sum(found.states.values()) >= 1


@pytest.mark.slow
def test_a_search_in_which_nothing_diverged_is_the_one_without_feedback():
    one, two = both("halving", "ring8", 0, budget=1000)
    assert (one.arm, two.arm, one.states["diverged"]) == ("with", "without", 0)
    assert search("halving", "ring8", "without", 0, budget=1000) == two
