"""The example that `make search` runs, whole: it finds a generator of clear digits."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.digits import figures
from tests.command_line import begin, end

EXAMPLE = Path(__file__).parents[2] / "examples" / "digits.yaml"


@pytest.mark.slow
def test_the_digits_search_finds_clear_digits_of_every_class(tmp_path):
    search = begin("search", EXAMPLE, "--store", tmp_path / "store", "--format", "json", cwd=tmp_path)
    try:
        assert search.wait(1100) == 0, (tmp_path / "stderr.txt").read_text()
    finally:
        end(search)
    found = figures(str(tmp_path / "store"))
    print(found)
    assert found["finished"] >= 20
    assert found["steps of the best"] >= 6000
    assert found["ratio"] <= 4
    assert found["confidence"] >= 0.8
    assert found["smallest class share"] >= 0.02
