"""A search on a Ray cluster that somebody else has started, and that goes on after it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline.ledger import read_book
from pipeline.store import open_store
from tests.command_line import alive, document, free_port, gansearch, refusal
from tests.ray_head import Cluster, ray_head

pytestmark = pytest.mark.slow
SEARCH = """
study: ring
data: ring8
space: gan
trials: 2
workers: 2
network: {name: mlp, width: 16, depth: 2}
latent: {size: 2}
batch_size: 32
steps: 60
segment_steps: 30
evaluation: {samples: 100, grid: 16}
halving: {enabled: false}
"""


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    """A head node with two CPUs."""
    with ray_head() as head:
        yield head


def test_a_search_on_a_cluster_equals_one_without_and_leaves_it_running(cluster: Cluster, tmp_path: Path):
    (tmp_path / "ring.yaml").write_text(SEARCH)
    args = ("search", "ring.yaml", "--format", "json", "--store")
    there = document(gansearch(*args, "there", "--address", cluster.address, cwd=tmp_path, **cluster.environment()))
    here = document(gansearch(*args, "here", cwd=tmp_path))
    assert there["trials"] == here["trials"] == {"completed": 2, "pruned": 0, "diverged": 0, "failed": 0}
    histories = [
        [segment.result.history for number in (0, 1) for segment in book.trials[number].segments]
        for book in (read_book(open_store(tmp_path / store), "ring") for store in ("there", "here"))
    ]
    assert histories[0] == histories[1]
    assert len(histories[0]) == 4
    workers = {a.worker for t in read_book(open_store(tmp_path / "there"), "ring").trials.values() for a in t.attempts}
    assert len(workers) == 2

    assert alive(cluster.head)
    assert cluster.jobs().count("True") == 1  # the search was its driver, and has gone; the cluster answers
    assert not [child for child in cluster.head.children(recursive=True) if "Actor" in " ".join(child.cmdline())]


def test_doctor_reaches_its_workers(cluster: Cluster, tmp_path: Path):
    done = gansearch(
        "doctor", "--store", "store", "--address", cluster.address, "--format", "json",
        cwd=tmp_path, **cluster.environment(),
    )  # fmt: skip
    checks = {check["name"]: check["ok"] for check in document(done)["checks"]}
    assert checks["worker: torch"]
    assert alive(cluster.head)


def test_an_address_where_nobody_listens_is_out_of_reach(tmp_path: Path):
    (tmp_path / "ring.yaml").write_text(SEARCH)
    address = f"127.0.0.1:{free_port()}"
    message = refusal(gansearch("search", "ring.yaml", "--store", "store", "--address", address, cwd=tmp_path), 4)
    assert f"no Ray cluster answers at {address}" in message
    assert "ray start --head" in message
