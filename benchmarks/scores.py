"""What the truth itself scores, and how that depends on the number of samples: `make scores`.

Samples of the data's own distribution are scored as if a generator had drawn them, in several sizes and draws of each.
A score that is not the same for all sizes is biased; one that is not what a perfect generator should have is a ceiling.
Mixtures (ring8) have as many samples as one likes; of digits, rows of the training part are drawn without
replacement and held against the held-out part, on features of the classifier that searches use.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trainers.config import TrainConfig
from trainers.data import Dataset, load
from trainers.evaluation import extractor as extractors
from trainers.evaluation import frechet
from trainers.evaluation.bins import ndb
from trainers.evaluation.classes import classifier_score
from trainers.evaluation.copies import memorisation_ratio
from trainers.evaluation.discrepancy import energy_distance, kernel_distance, two_sample_accuracy
from trainers.evaluation.manifold import density_coverage, precision_recall
from trainers.evaluation.mixtures import mixture_scores
from trainers.evaluation.parzen import parzen
from trainers.evaluation.sliced import directions, sliced_scores, sorted_projections

SIZES = {"ring8": (100, 200, 500, 1000, 2000, 5000), "digits": (50, 100, 200, 400, 600)}
REPETITIONS = 10
PAGE, PICTURES = Path(__file__).with_suffix(".md"), Path("docs/scores")
SHOWN = {
    "ring8": ("mixture_kl", "modes", "high_quality", "spread", "sliced_wasserstein", "energy", "accuracy", "ndb"),
    "digits": ("frechet", "kernel", "classifier_score", "precision", "recall", "density", "coverage", "memorisation"),
}
Array = NDArray[Any]
Scores = Callable[[Array], Mapping[str, float]]


def _data(name: str) -> Dataset:
    return load(TrainConfig.model_validate({"data": name}).data)


def ring8() -> tuple[Callable[[int, int], Array], Scores]:
    """Return what draws n true samples with a seed, and what scores them."""
    dataset = _data("ring8")
    modes, along = dataset.modes, directions(2)
    if modes is None:
        raise ValueError("ring8 must be a mixture")
    reference = sorted_projections(dataset.held_out, along)

    def draw(n: int, seed: int) -> Array:
        rng = np.random.Generator(np.random.Philox(key=seed))
        return modes.centres[rng.integers(len(modes.centres), size=n)] + modes.std * rng.standard_normal((n, 2))

    def scores(samples: Array) -> Mapping[str, float]:
        others = dataset.held_out[: len(samples)]
        return {
            **mixture_scores(samples, modes),
            **sliced_scores(samples, reference, along),
            "energy": energy_distance(samples, others),
            **two_sample_accuracy(samples[: len(others)], others),
            **ndb(samples, dataset.train[:5000], bins=20, seed=0),
        }

    return draw, scores


def digits() -> tuple[Callable[[int, int], Array], Scores]:
    """Return the same of digits: n different rows of the training part."""
    dataset = _data("digits")
    loaded = extractors.load(extractors.train(dataset))
    features, known = loaded(dataset.held_out)[0], loaded(dataset.train)[0]

    def draw(n: int, seed: int) -> Array:
        rng = np.random.Generator(np.random.Philox(key=seed))
        return dataset.train[rng.permutation(len(dataset.train))[:n]]

    def scores(samples: Array) -> Mapping[str, float]:
        found, probabilities = loaded(samples)
        rest = known[~_rows_in(dataset.train, samples)]  # what is drawn is not what is known
        pixels = [rows.reshape(len(rows), -1) for rows in (samples, dataset.held_out)]
        return {
            "frechet": frechet.frechet_distance(found, features),
            "kernel": kernel_distance(found, features),
            **classifier_score(probabilities, splits=1),
            **precision_recall(found, features),
            **density_coverage(found, features),
            "memorisation": memorisation_ratio(found, rest, features),
            **parzen(pixels[0], pixels[1][::2], pixels[1][1::2]),
        }

    return draw, scores


MADE = {"ring8": ring8, "digits": digits}


def _rows_in(rows: Array, some: Array) -> NDArray[np.bool_]:
    wanted = {row.tobytes() for row in some}
    return np.array([row.tobytes() in wanted for row in rows])


def measured(name: str, sizes: Sequence[int], repetitions: int) -> dict[str, list[tuple[float, float]]]:
    """Return by score the mean and standard deviation over draws, one pair a size."""
    draw, scores = MADE[name]()
    found: dict[str, list[tuple[float, float]]] = {}
    for size in sizes:
        told = [scores(draw(size, 1000 * size + place)) for place in range(repetitions)]
        for score in told[0]:
            values = [one[score] for one in told]
            found.setdefault(score, []).append((float(np.mean(values)), float(np.std(values, ddof=1))))
    return found


def table(name: str, sizes: Sequence[int], found: Mapping[str, Sequence[tuple[float, float]]]) -> list[str]:
    """Return a table: a row a score, a column a size."""
    lines = [
        f"## {name}",
        "",
        f"| score | {' | '.join(f'{size:,}' for size in sizes)} |",
        "|---" * (1 + len(sizes)) + "|",
    ]
    return [
        *lines,
        *(f"| {score} | {' | '.join(f'{m:.4g} ± {s:.2g}' for m, s in pairs)} |" for score, pairs in found.items()),
        "",
    ]


def picture(sizes: Sequence[int], found: Mapping[str, Sequence[tuple[float, float]]], names: Sequence[str]) -> Any:
    """Return a figure with a panel a score: its mean over the number of samples, and a standard deviation around it."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 5), dpi=100, layout="constrained")
    for axes, score in zip(figure.subplots(2, 4).flat, names, strict=True):
        mean, std = np.array(found[score]).T
        axes.plot(sizes, mean, marker="o", markersize=3, linewidth=1)
        axes.fill_between(sizes, mean - std, mean + std, alpha=0.2)
        axes.set_title(score, fontsize=9)
        axes.set_xscale("log")
        axes.set_xticks(sizes, [f"{size:,}" for size in sizes])
        axes.set_xticks([], minor=True)
        axes.tick_params(labelsize=7)
    figure.supxlabel("samples", fontsize=9)
    return figure


def main() -> None:
    """Measure, and write the page, the numbers and the pictures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repetitions", type=int, default=REPETITIONS)
    parser.add_argument("--out", type=Path, default=PAGE)
    parser.add_argument("--pictures", type=Path, default=PICTURES)
    chosen = parser.parse_args()
    chosen.pictures.mkdir(parents=True, exist_ok=True)
    told = " ".join((__doc__ or "").split("\n\n", 1)[1].split())
    lines = ["# What the truth scores", "", "Generated by `make scores`.", told, ""]
    lines += [f"Mean and standard deviation over {chosen.repetitions} draws, by number of samples.", ""]
    for name, sizes in SIZES.items():
        found = measured(name, sizes, chosen.repetitions)
        lines += table(name, sizes, found)
        picture(sizes, found, SHOWN[name]).savefig(chosen.pictures / f"{name}.png", metadata={"Software": None})
    chosen.out.write_text("\n".join(lines))
    print("\n".join(lines))


if __name__ == "__main__":
    main()
