"""What each fault's test promised and measured, for `make faults` to print."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.fakes.moto_server import s3_server, s3_uri  # noqa: F401 - fixtures
from tests.faults.held import Held

Note = Callable[..., None]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """All of this is slow."""
    for item in items:
        if "faults" in Path(item.path).parts:
            item.add_marker(pytest.mark.slow)
            item.add_marker(pytest.mark.filterwarnings("ignore::DeprecationWarning"))
            item.add_marker(pytest.mark.filterwarnings("ignore::FutureWarning"))


@pytest.fixture
def note(request: pytest.FixtureRequest) -> Iterator[Note]:
    """Say what was injected, what is promised and what was measured; it is written down when the test has passed."""
    told: list[dict[str, Any]] = []
    yield lambda injected, promised, **measured: told.append(
        {"injected": injected, "promised": promised, "measured": measured}
    )
    log = os.environ.get("FAULTS_LOG")
    if log and told:
        with Path(log).open("a") as file:
            for row in told:
                file.write(json.dumps({"test": request.node.nodeid, **row}) + "\n")


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Held:
    """A small search in a folder of its own whose trials wait, and can be trained again in this process."""
    monkeypatch.setenv("FAULT_FOLDER", str(tmp_path))
    return Held(tmp_path)
