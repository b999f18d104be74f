"""One small finished search, shared by the tests that only look at it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.command_line import gansearch
from tests.finished_search import SEARCH, Finished

if TYPE_CHECKING:
    from tests.mlflow_runs import Runs


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Finished:
    """A finished search with completed, pruned and diverged trials; tests must not train on its study."""
    folder = tmp_path_factory.mktemp("finished")
    (folder / "tiny.yaml").write_text(SEARCH)
    search = Finished(folder, gansearch("search", "tiny.yaml", "--store", "store", "--format", "json", cwd=folder))
    assert search.done.returncode == 0, search.done.stderr
    return search


@pytest.fixture
def runs(finished: Finished) -> Runs:
    """Its runs in MLflow."""
    from tests.mlflow_runs import Runs

    return Runs(finished.tracking_uri, "tiny")
