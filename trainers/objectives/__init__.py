"""What D and G minimise, from what D says of samples: one short file a family."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor, nn

    Term = Callable[[Float[Tensor, "batch 1"]], Float[Tensor, "batch 1"]]


@dataclass(frozen=True, kw_only=True)
class Objective:
    """A pair of losses of an adversarial game.

    Attributes:
        d_loss: (real=, fake=) to D's mean loss, of what D says of real and of generated samples, [batch, 1] each;
            with margin= too where `margin` is given.
        g_loss: (fake=) to G's mean loss; (real=, fake=) where it is `paired`.
        d_floor: the least value that D's loss can have, reached when D wins; None where there is none.
        boundary: the logit above which D takes a sample for real; None where D classifies nothing.
        terms: D's loss of each sample alone, as one that is to be told as real, and as generated; None where the loss
            couples samples. Noisy labels need them.
        says: what D must be: a network to one logit, or an auto-encoder whose error is its "energy".
        code: width of the auto-encoder's code.
        error: exponent of the auto-encoder's error: 1 absolute, 2 squared, mean over a sample's numbers.
        paired: whether G's loss sees D's logits on real samples.
        margin: (real samples, fake samples) to what d_loss is given as margin=, [batch, 1].
        of_code: a term of G's loss, of the codes [batch, code] of its samples.
        pretrain: steps in which D is trained on real samples alone, by the mean of what it says, and G waits.
        state: numbers that the losses keep from step to step, as buffers.
        after: (real=, fake=) run after each of D's updates, to change `state`.
    """

    d_loss: Callable[..., Tensor]
    g_loss: Callable[..., Tensor]
    d_floor: float | None
    boundary: float | None = None
    terms: tuple[Term, Term] | None = None
    says: Literal["logit", "energy"] = "logit"
    code: int = 64
    error: Literal[1, 2] = 2
    paired: bool = False
    margin: Callable[[Tensor, Tensor], Tensor] | None = None
    of_code: Callable[[Float[Tensor, "batch code"]], Float[Tensor, ""]] | None = None
    pretrain: int = 0
    state: nn.Module | None = None
    after: Callable[..., None] | None = None

    @property
    def unbounded(self) -> bool:
        """Whether D is a critic, whose output means more the larger it is."""
        return self.says == "logit" and self.d_floor is None and self.boundary is None


@dataclass(frozen=True, kw_only=True)
class OwnGame:
    """An objective that is no game of G against D, such as an auto-encoder's.

    Attributes:
        build: (config, sample shape, rows of the training part, device) to a Game, as `trainers.gan.build`.
    """

    build: Callable[..., Any]
    d_floor: None = None


def separable(
    *,
    as_real: Term,
    as_fake: Term,
    g_loss: Callable[..., Tensor],
    d_floor: float | None,
    boundary: float | None = None,
) -> Objective:
    """Return the objective whose D loss is E as_real(D(x)) + E as_fake(D(G(z))).

    Args:
        as_real: D's loss of each logit on what is to be told as real, [batch, 1].
        as_fake: D's loss of each logit on what is to be told as generated, [batch, 1].
        g_loss: G's mean loss of its samples' logits, (fake=).
        d_floor: see Objective.
        boundary: see Objective.
    """

    def d_loss(*, real: Float[Tensor, "batch 1"], fake: Float[Tensor, "batch 1"]) -> Float[Tensor, ""]:
        return as_real(real).mean() + as_fake(fake).mean()

    terms = (as_real, as_fake)
    return Objective(d_loss=d_loss, g_loss=g_loss, d_floor=d_floor, boundary=boundary, terms=terms)
