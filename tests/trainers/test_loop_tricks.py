"""Whatever a training remembers is in its checkpoint: resumed equals never stopped with every trick."""

import pytest

from tests.fakes.trainings import DCGAN, WGAN_GP, bits, run, state_of, tiny

TRICKS = {
    "batch norm in both": DCGAN,
    "batch norm, mixed batches": DCGAN | {"batches": "mixed"},
    "spectral norm": {"network": {"name": "mlp", "width": 6, "depth": 2, "norm_d": "spectral"}},
    "spectral norm, penalised": WGAN_GP | {"network": {"name": "mlp", "width": 6, "depth": 2, "norm_d": "spectral"}},
    "average": {"ema": 0.9},
    "dropout": {"network": {"name": "mlp", "width": 6, "depth": 2, "dropout": 0.5, "dropout_at_sampling": True}},
    "noise in the layers": {"network": {"name": "mlp", "width": 6, "noise": "additive", "noise_std": 0.3}},
    "replay": {"replay": {"size": 10, "share": 0.5}},
    "an earlier generator": {"swap": {"player": "generator", "every": 3, "steps": 1}},
    "an earlier discriminator": {"swap": {"player": "discriminator", "every": 3, "steps": 2}},
    "an earlier generator with dropout": {
        "swap": {"player": "generator", "every": 3, "steps": 1},
        "network": {"name": "mlp", "width": 6, "dropout": 0.3},
    },
    "warm-up": {"warmup": {"updates": 2, "n_critic": 3, "again_every": 2}},
    "decay": {"optim": {"decay": "cosine", "weight_decay": 0.1}},
    "thresholds": {"train_d_above": 1.2, "train_g_above": 0.6, "optim": {"lr_d": 0.05}},
    "lazy penalty": {"objective": "wasserstein", "penalty": {"name": "gradient", "every": 4}},
    "packs, augmented, with noise": DCGAN
    | {"pack": 2, "augment": {"translation": 0.2, "cutout": 0.3}, "instance_noise": {"std": 0.2, "decay_steps": 8}},
    "noisy labels": {"labels": {"soft_real": 0.1, "flip_fake": 0.3}},
    "everything remembered": DCGAN
    | {
        "replay": {"size": 6},
        "swap": {"player": "generator", "every": 4, "steps": 2},
        "train_g_above": 0.7,
        "ema": 0.5,
    },
}


@pytest.mark.parametrize("name", TRICKS)
def test_resumed_equals_never_stopped(name: str) -> None:
    config = tiny(**TRICKS[name], segment_steps=1)
    straight = run(config)
    for at in (1, 4, 7):
        assert bits(run(config, state_of(straight[at - 1]))) == bits(straight[at:])


@pytest.mark.parametrize("name", TRICKS)
def test_where_segments_end_changes_no_step(name: str) -> None:
    one, other = (state_of(run(tiny(**TRICKS[name], segment_steps=size))[-1]).tensors for size in (12, 5))
    assert one.keys() == other.keys()
    assert all(value.equal(other[key]) for key, value in one.items())
