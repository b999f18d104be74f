"""How many workers fit, by hand and by property."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.resources import capacity, gpu_share, is_dead, shortfall
from trainers.errors import ConfigError


def node(cpus: int, gpus: int, alive: bool = True) -> dict[str, Any]:
    return {"Alive": alive, "Resources": {"CPU": float(cpus), "GPU": float(gpus)}}


@pytest.mark.parametrize(
    ("asked", "workers", "gpus", "share"),
    [(None, 2, 2, 1.0), (None, 2, 8, 1.0), (None, 4, 2, 0.5), (None, 3, 2, 0.5), (None, 3, 1, 0.3333),
     (None, 3, 0, 0.0), (0.25, 4, 2, 0.25), (2, 1, 0, 2), (0, 4, 2, 0)],
)  # fmt: skip
def test_a_worker_gets_what_was_asked_for_or_an_even_share(asked, workers, gpus, share):
    assert gpu_share(asked, workers, gpus) == share


@pytest.mark.parametrize("asked", [-1, 1.5])
def test_a_share_that_ray_cannot_give_is_refused(asked: float):
    with pytest.raises(ConfigError, match=f"gpus_per_worker={asked:g}"):
        gpu_share(asked, 2, 2)


@given(st.integers(1, 64), st.integers(1, 16))
def test_an_even_share_always_fits(workers: int, gpus: int):
    assert capacity([node(workers, gpus)], gpu_share(None, workers, gpus)) >= workers


@pytest.mark.parametrize(
    ("nodes", "share", "fit"),
    [([node(4, 2)], 0, 4), ([node(4, 2)], 1, 2), ([node(4, 2)], 0.6, 2), ([node(4, 2)], 0.5, 4), ([node(3, 2)], 0.5, 3),
     ([node(8, 1), node(8, 1)], 2, 0), ([node(0, 4)], 0, 0), ([node(4, 2), node(4, 2, alive=False)], 1, 2)],
)  # fmt: skip
def test_a_fraction_lies_on_one_gpu_and_a_worker_on_one_node(nodes, share: float, fit: int):
    assert capacity(nodes, share) == fit


def test_a_refusal_has_the_numbers():
    assert shortfall([node(8, 2)], 4, 1) == (
        "asked for 4 workers with 1 CPU and 1 GPU each; the cluster has 8 CPUs and 2 GPUs, room for 2"
    )


def test_a_node_is_dead_when_its_row_says_so_and_only_then():
    rows = [node(1, 0) | {"NodeID": "a"}, node(1, 0, alive=False) | {"NodeID": "b"}]
    assert [is_dead(rows, name) for name in ("a", "b", "c")] == [False, True, False]
