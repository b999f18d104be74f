"""The f-divergences of f_gan.

With D's output v, the output activation g_f and the conjugate f* of f (Nowozin et al. 2016, tables 2 and 6), D
maximises E_P g_f(v) - E_Q f*(g_f(v)), which at g_f(v) = f'(p / q) is the divergence D_f(P || Q) = sum q f(p / q), P the
data. f*(g_f(v)) is written in closed form; exp is that of `continued`, a line above 40.

| divergence        | f(u)                           | f*(t)             | sup |
|-------------------|--------------------------------|-------------------|-----|
| kl                | u log u                        | exp(t - 1)        | inf |
| reverse_kl        | -log u                         | -1 - log(-t)      | inf |
| pearson           | (u - 1)^2                      | t^2 / 4 + t       | inf |
| neyman            | (1 - u)^2 / u                  | 2 - 2 sqrt(1 - t) | inf |
| squared_hellinger | (sqrt(u) - 1)^2                | t / (1 - t)       | 2   |
| jensen_shannon    | u log u - (u+1) log((u+1)/2)   | -log(2 - e^t)     | 2 log 2: twice the JSD with weights 1/2 |
| gan               | u log u - (u+1) log(u+1)       | -log(1 - e^t)     | 0: 2 JSD - 2 log 2, the game of minimax |
| total_variation   | |u - 1| / 2                    | t                 | 1: half the L1 distance |
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

from torch.nn.functional import softplus

from trainers.objectives.continued import exp

if TYPE_CHECKING:
    from trainers.objectives import Term
    from trainers.params.objectives import Divergence

LOG2 = math.log(2)


class Bound(NamedTuple):
    """A row of the table: g_f and f*(g_f), both of D's output, and the divergence's least upper bound, if any.

    `boundary` is the output that an optimal D has where p = q: g_f of it is f'(1) (section 2.4).
    """

    activation: Term
    conjugate: Term
    most: float | None = None
    boundary: float = 0.0


BOUNDS: dict[Divergence, Bound] = {
    "kl": Bound(lambda v: v, lambda v: exp(v - 1), boundary=1.0),
    "reverse_kl": Bound(lambda v: -exp(-v), lambda v: v - 1),
    "pearson": Bound(lambda v: v, lambda v: v.square() / 4 + v),
    "neyman": Bound(lambda v: 1 - exp(-v), lambda v: 2 - 2 * exp(-v / 2)),
    "squared_hellinger": Bound(lambda v: 1 - exp(-v), lambda v: exp(v) - 1, 2.0),
    "jensen_shannon": Bound(lambda v: LOG2 - softplus(-v), lambda v: softplus(v) - LOG2, 2 * LOG2),
    "gan": Bound(lambda v: -softplus(-v), softplus, 0.0),
    "total_variation": Bound(lambda v: v.tanh() / 2, lambda v: v.tanh() / 2, 1.0),
}
