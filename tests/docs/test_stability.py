"""docs/stability.md against the detectors that it is about."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from PIL import Image

from benchmarks.occurrences import occurrences
from pipeline.advice import ADVICE
from tests.docs import test_readme as readme
from trainers.config import TrainConfig
from trainers.history import SIGNALS
from trainers.registry import known
from trainers.watch import SHOWN

ROOT = Path(__file__).parents[2]
PAGE = "docs/stability.md"
TEXT = (ROOT / PAGE).read_text()
KINDS = [variant.name for variant in known("detector")]
SECTIONS = {part.split("\n", 1)[0]: part for part in TEXT.split("\n### ")[1:]}


def test_every_detector_has_its_section_and_its_picture_in_one_order() -> None:
    assert list(SECTIONS) == KINDS
    assert {kind for kind, _ in occurrences()} == set(KINDS)
    assert sorted(path.stem for path in (ROOT / "docs" / "stability").iterdir()) == sorted(KINDS)


@pytest.mark.parametrize("kind", KINDS)
def test_a_section_has_meaning_equation_source_defaults_advice_and_picture(kind: str) -> None:
    section, params = SECTIONS[kind], TrainConfig().stability[kind]
    threshold, window = f"threshold {params.threshold:g}", f"window {params.window} steps"
    severity = "0.5 to 1" if kind == "exploding_gradient" else f"{params.severity:g}"
    assert f"* **Default:** {threshold}, {window}, action {params.action}, severity {severity}." in section
    assert f"* **What to change:** {ADVICE[kind]}." in section
    assert all(f"* **{word}:** " in section for word in ("Equation", "Source"))
    (picture,) = re.findall(r"!\[[^\]]+\]\(([^)]+)\)", section)
    with Image.open(ROOT / "docs" / picture) as image:
        assert image.width == 800


def test_every_signal_is_named() -> None:
    named = set(re.findall(r"`([a-z_.0-9]+)`", TEXT.split("## Before the first step")[0]))
    assert {*SIGNALS, *SHOWN} <= named


def test_links_commands_and_options_exist() -> None:
    readme.test_every_command_and_option_that_is_named_exists(PAGE)
    targets = re.findall(r"\]\(([^)#]+)\)", TEXT)
    assert [t for t in targets if "://" not in t and not (ROOT / "docs" / t).exists()] == []
