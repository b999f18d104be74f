"""What is measured on the device while a GAN trains; nothing waits for the device, and nothing is changed."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import torch
from torch import nn

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor

ITERATIONS = 6  # of the power method: a lower bound, within some per cent unless the largest two are near each other
MOST = 128  # samples of a batch whose distances are taken: as many squared
TINY = 1e-12  # beside distances: data that are one point are as diverse as fakes that are
AT_CLIP = 0.999  # of the clip: "at" it
TRANSPOSED = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)
LAYERS = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d, *TRANSPOSED)


@dataclass(frozen=True, kw_only=True)
class Said:
    """What D says of both kinds of samples, reduced to signals for many steps at once: few operations a step are left.

    Attributes:
        boundary: above it D takes a sample for real; None where it classifies nothing.
    """

    boundary: float | None

    @property
    def signals(self) -> tuple[str, ...]:
        """Names of mean and variance on real and on generated samples, and of D's accuracy where it classifies."""
        accuracy = () if self.boundary is None else ("accuracy_d",)
        return ("logit_real", "logit_fake", "logit_real_var", "logit_fake_var", *accuracy)

    def reduce(self, said: Float[Tensor, "steps 2 batch"]) -> Float[Tensor, "steps signals"]:
        """Return the signals of each step, from D's output on real samples and that on as many generated ones."""
        variances, means = torch.var_mean(said, dim=2, correction=0)
        found = [means, variances]
        if self.boundary is not None:
            above = torch.where(said.isnan(), said, (said > self.boundary).float()).mean(dim=2)
            found.append(((above[:, :1] - above[:, 1:]) + 1) / 2)
        return torch.cat(found, dim=1)


def clip_share(weights: Sequence[Tensor], clip: float) -> Float[Tensor, ""]:
    """Return the share of weights within 0.1 % of the clip, in [0, 1] (Gulrajani 2017, fig. 1b: they pile up there)."""
    at_clip = torch.stack([(weight.detach().abs() >= AT_CLIP * clip).sum() for weight in weights]).sum()
    return at_clip / sum(weight.numel() for weight in weights)


def update_ratio(before: Sequence[Tensor], after: Sequence[Tensor]) -> Float[Tensor, ""]:
    """Return |w' - w| / |w| of all weights of a player together; an update of 1e-3 is the rule of thumb."""
    moved = torch.linalg.vector_norm(torch.stack(torch._foreach_norm(torch._foreach_sub(list(after), list(before)))))
    size = torch.linalg.vector_norm(torch.stack(torch._foreach_norm(list(before))))
    ratio: Tensor = moved / size.clamp_min(torch.finfo(size.dtype).tiny)
    return ratio


def singular_values(network: nn.Module) -> list[Tensor]:
    """Return the largest singular value of each linear and convolutional layer's weight, from the input on."""
    layers = [module for module in network.modules() if isinstance(module, LAYERS)]
    with evaluated(network):
        return [
            top_singular_value(layer.weight.transpose(0, int(isinstance(layer, TRANSPOSED))).flatten(1))
            for layer in layers
        ]


def top_singular_value(matrix: Float[Tensor, "outputs rest"]) -> Float[Tensor, ""]:
    """Return an estimate from below of the largest singular value, by the power method from a vector of equal numbers.

    Of a convolution it is that of the kernel seen as a matrix (Miyato et al. 2018, section 2.1), as BigGAN watches it.
    """
    v = matrix.new_full((matrix.shape[1],), matrix.shape[1] ** -0.5)
    for _ in range(ITERATIONS):
        v = matrix.T @ (matrix @ v)
        v /= torch.linalg.vector_norm(v).clamp_min(TINY)
    norm: Tensor = torch.linalg.vector_norm(matrix @ v)
    return norm


def mean_distance(samples: Float[Tensor, "n *shape"]) -> Float[Tensor, ""]:
    """Return the mean Euclidean distance of two different samples, of at most 128 of them."""
    rows = samples[:MOST].flatten(1)
    distance: Tensor = torch.cdist(rows, rows, compute_mode="donot_use_mm_for_euclid_dist").sum()
    return distance / (len(rows) * max(1, len(rows) - 1))


def beyond(real: Float[Tensor, "n 1"], fake: Float[Tensor, "m 1"], sign: float) -> Float[Tensor, ""]:
    """Return the share of real samples of which D thinks better than of 95 % of the generated ones.

    Args:
        real: D's output on real samples.
        fake: D's output on generated ones.
        sign: 1 where D says more of a real sample, -1 where less (an energy).
    """
    ranked = (sign * fake).flatten().sort().values
    bar = ranked[min(len(ranked) - 1, int(0.95 * len(ranked)))]
    return ((sign * real).flatten() > bar).float().mean()


@contextmanager
def evaluated(network: nn.Module) -> Iterator[None]:
    """Let a network be asked as it is in evaluation, so that no statistics are taken and no power iteration is made."""
    training = network.training
    network.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        network.train(training)


@dataclass(frozen=True, kw_only=True)
class Probe:
    """What a game measures now and then, beside what its players report with each update.

    Attributes:
        signals: names, in order.
        late: the last step that is too early.
        measure: (batch, drawn from the held-out part, step) to a value a signal; called after the step's updates.
    """

    signals: tuple[str, ...]
    measure: Callable[[Mapping[str, Tensor], Tensor, int], Mapping[str, Tensor]]
    late: int = 0


def adversarial_probe(
    discriminate: nn.Module,
    *,
    packed: tuple[int, ...],
    says: Literal["logit", "energy"],
    clip: float | None,
    drawn: Mapping[str, Tensor],
    late: int,
) -> Probe:
    """Return the probe of a GAN: how far D tells data from fakes, on what it trained on and on what it did not.

    Signals: `gap_train` and `gap_held_out`, E D(x) - E D(G(z)) over a batch, the other way round for an energy: a
    critic's estimate of the Wasserstein distance up to its Lipschitz constant (Arjovsky 2017, eq. 2); `real_beyond`,
    see `beyond`, on the held-out part; `diversity`, the mean distance of two fakes over that of two real samples; and
    `clip_share` where weights are clipped.

    Args:
        discriminate: D.
        packed: shape of what D is shown at a time.
        says: see Objective.
        clip: of D's weights.
        drawn: has G's samples of the last step under "fake", before augmentation and noise.
        late: see Probe.
    """
    sign = 1.0 if says == "logit" else -1.0

    def measure(batch: Mapping[str, Tensor], held_out: Tensor, _step: int) -> dict[str, Tensor]:
        fake = drawn["fake"]
        shown = torch.cat((batch["real"], held_out, fake)).reshape(-1, *packed)
        with evaluated(discriminate):
            real, other, made = discriminate(shown).chunk(3)
        found = {
            "gap_train": sign * (real.mean() - made.mean()),
            "gap_held_out": sign * (other.mean() - made.mean()),
            "real_beyond": beyond(other, made, sign),
            "diversity": (mean_distance(fake) + TINY) / (mean_distance(batch["real"]) + TINY),
        }
        if clip is not None:
            found["clip_share"] = clip_share(list(discriminate.parameters()), clip)
        return found

    clipped = ("clip_share",) if clip is not None else ()
    names = ("gap_train", "gap_held_out", "real_beyond", "diversity", *clipped)
    return Probe(signals=names, measure=measure, late=late)
