"""Every detector sees a failure that was made on purpose, within its window of the step from which it is there."""

import numpy as np
import pytest

from tests.fakes.provoked import FIXED_AT, PROVOKED, provoked
from tests.fakes.trainings import column, run
from trainers.registry import known


def test_every_detector_has_a_failure():
    assert {case.kind for case in PROVOKED.values()} == {variant.name for variant in known("detector")} - {
        "oscillation"  # which has Dirac-GAN
    }


@pytest.mark.parametrize("name", PROVOKED)
def test_it_is_seen_within_a_window_of_its_onset(name):
    case, config = PROVOKED[name], provoked(name)
    events = [event for segment in run(config) for event in segment.events if event.kind == case.kind]
    assert events, "nothing was seen"
    assert case.onset < events[0].step <= case.onset + config.stability[case.kind].window


@pytest.mark.parametrize(
    ("name", "signal", "before", "after"),
    [
        ("an output that is fixed", "diversity", (0.1, 10), (0, 0.01)),
        ("copies of 16 images", "memorisation", (0.5, 10), (0, 0.1)),
    ],
)
def test_it_begins_where_it_was_made_to(name, signal, before, after):
    segments = run(provoked(name))
    values = np.array(column(segments, signal), dtype=np.float64)
    steps = 1 + np.arange(len(values))
    for (low, high), there in ((before, steps <= FIXED_AT), (after, steps > FIXED_AT)):
        seen = values[there & ~np.isnan(values)]
        assert len(seen)
        assert low <= seen.min() <= seen.max() <= high
