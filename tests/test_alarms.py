"""What `make alarms` keeps of a training, how it labels it, and what its page says."""

from __future__ import annotations

import json
from dataclasses import asdict, replace

import numpy as np
import pyarrow as pa
import pytest

from benchmarks import alarms, alarms_page, ceiling
from benchmarks.alarms import RATES, SEGMENT, STEPS, Outcome, Training
from tests.fakes.trainings import run
from trainers.config import TrainConfig

SMALL = {"network": {"name": "mlp", "width": 16, "depth": 2}, "latent": {"size": 4}, "batch_size": 16}
SMALL |= {"segment_steps": SEGMENT, "evaluation": {"samples": 200, "grid": 1}, "metrics": ["sliced_wasserstein"]}
RING = SMALL | {"data": "ring8", "steps": 1500, "slow_every": 25}
CLIPPED = {"objective": "wasserstein", "clip": 1e-4, "optim": {"lr_d": 1e-2}}
CLIPPED |= {"network": {"name": "mlp", "width": 32, "depth": 11}}
LONG = "a clipped critic of 12 layers"
CONFIGS = {
    "a G that learns nothing": RING | {"optim": {"lr_d": 1e-3, "lr_g": 1e-9}},
    "rates that throw both off": RING | {"optim": {"lr_d": 0.1, "lr_g": 0.1}},
    LONG: RING | CLIPPED,
}


@pytest.mark.parametrize("name", [pytest.param(n, marks=pytest.mark.slow) if n == LONG else n for n in CONFIGS])
def test_a_kept_history_shows_the_detectors_what_the_training_did(tmp_path, name):
    training = Training("tuning", "non_saturating", "ring8", 7, CONFIGS[name] | {"seed": 7})
    found = alarms.train(training, tmp_path)
    actions = {kind: params.action for kind, params in TrainConfig.model_validate(training.config).stability.items()}
    warned = {"stability": {kind: {"action": "warn"} for kind in actions}}
    live: dict[str, tuple[int, str]] = {}
    for segment in run(TrainConfig.model_validate(training.config | warned)):
        for event in segment.events:
            live.setdefault(event.kind, (event.step, actions[event.kind]))
    assert live
    assert found.events == live
    assert found.detectors == alarms.looking()
    stale = replace(found, events={"stagnation": (1, "stop")}, detectors="of before")
    assert alarms.fresh([stale, replace(stale, seed=8)], tmp_path) == [found]


def test_hyper_parameters_are_drawn_from_their_ranges_and_the_same_again():
    drawn = list(alarms.trainings("tuning"))
    assert drawn == list(alarms.trainings("tuning"))
    rates = np.array([[one.config["optim"][name] for name in ("lr_d", "lr_g")] for one in drawn])
    assert (rates > RATES[0]).all()
    assert (rates < RATES[1]).all()
    assert np.median(rates) == pytest.approx(np.sqrt(RATES[0] * RATES[1]), rel=0.5)
    assert len({json.dumps(one.config) for one in drawn}) == len(drawn)
    for one in drawn:
        TrainConfig.model_validate(one.config)


def test_no_seed_is_in_two_parts():
    seeds = [one.seed for part in ("default", "tuning", "report") for one in alarms.trainings(part)]
    assert len(seeds) == len(set(seeds))


def outcome(*scores, part="report", seed=0, untrained=1.0, **events):
    return Outcome(part, "hinge", "grid25", seed, {}, untrained, scores, events, "now")


@pytest.mark.parametrize(
    ("scores", "why"),
    [
        ((0.9, 0.5), None),
        ((2.0, 0.5), None),
        ((0.5, 0.50001), "5 times worse than the default"),
        ((0.1, 1.1), "worse than untrained"),
        ((0.5, None), "not finite"),
        ((None, 0.5), "not finite"),
    ],
)
def test_a_training_is_labelled_by_its_scores_alone(scores, why):
    floor = alarms.defaults([outcome(0.0, last, part="default") for last in (0.05, 0.1, 0.2)])
    assert floor == {("hinge", "grid25"): 0.1}
    assert alarms.fails(outcome(*scores), floor) == why


def seen(why=None, score=0.5, **events):
    return alarms_page.Seen(outcome(*[score] * (STEPS // SEGMENT), **events), why)


def test_the_page_counts_what_stops_and_in_time():
    healthy = [*[seen()] * 8, seen(stagnation=(STEPS, "stop")), seen(oscillation=(50, "warn"))]
    late, early = STEPS // 2 + 1, STEPS // 2
    failing = [
        seen("worse than untrained", 2.0, stagnation=(early, "stop"), d_loss_zero=(early - 1, "stop")),
        seen("worse than untrained", 2.0, stagnation=(late, "stop")),
        seen("worse than untrained", 0.5, oscillation=(1, "warn")),
        seen("not finite", None, non_finite=(250, "stop")),
    ]
    lines = alarms_page.page("x\n\nwhat it does", [*healthy, *failing], "report", ["a ceiling"]).splitlines()
    assert "| healthy | 10 | 1 | 10.0% | 0.3% to 44.5% | at most 5 % |" in lines
    assert "| failing, before half of the budget | 4 | 2 | 50.0% | 6.8% to 93.2% | at least 80 % |" in lines
    assert "| failing, at any time | 4 | 3 | 75.0% | 19.4% to 99.4% |  |" in lines
    assert "| d_loss_zero | stop | 0 | 1 | 1 |" in lines
    assert "| stagnation | stop | 1 | 1 | 0 |" in lines
    assert "| oscillation | warn | 1 | 1 | 0 |" in lines
    assert "| worse than untrained | better | 1 | 0 |" in lines
    assert "| worse than untrained | worse than untrained | 2 | 1 |" in lines
    assert "| hinge | grid25 | 10 | 1 | 4 | 2 |" in lines


@pytest.mark.parametrize(("apart", "hits"), [(True, "12 of 12"), (False, None)])
def test_the_ceiling_is_what_can_be_told_until_half_of_the_budget(tmp_path, apart, hits):
    histories = tmp_path
    draw = np.random.Generator(np.random.Philox(key=3))
    found = []
    for seed in range(24):
        failing = seed % 2 == 1
        signal = draw.normal(size=STEPS) + 10 * failing * (np.arange(STEPS) < STEPS // 2 if apart else 0)
        signal[STEPS // 2 :] += 100 * failing  # too late to be seen
        table = pa.table({"step": np.arange(1, STEPS + 1), "energy": signal})
        with pa.OSFile(str(histories / f"{seed}.arrow"), "wb") as sink, pa.ipc.new_file(sink, table.schema) as out:
            out.write_table(table)
        one = outcome(*[1.0] * (STEPS // SEGMENT), seed=seed)
        found.append(alarms_page.Seen(one, "worse than untrained" if failing else None))
    (said,) = ceiling.told(found, tmp_path)
    assert ceiling.told(found, tmp_path / "elsewhere") == []
    assert "at 0 false alarms" in said
    if hits is not None:
        assert hits in said
    else:
        assert int(said.split(" tells ")[1].split()[0]) < 6


def test_what_was_kept_is_read_again(tmp_path):
    kept = [outcome(0.5, None, seed=seed, stagnation=(500, "stop")) for seed in range(2)]
    file = tmp_path / "kept.jsonl"
    file.write_text("".join(json.dumps(asdict(one)) + "\n" for one in kept))
    assert [replace(one, scores=tuple(one.scores)) for one in alarms.read(file)] == kept
    assert alarms.read(tmp_path / "nowhere") == []
