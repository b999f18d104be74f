"""The signals around a stability event, as a picture; the only file that imports matplotlib."""

from __future__ import annotations

import io
import math
import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from trainers.stability.events import Event

if TYPE_CHECKING:
    from matplotlib.axes import Axes

BEFORE, AFTER = 4, 1  # windows that are shown around the event's own
LEAST = 100  # steps, where a window is short
DECADES = 3.0  # that values span, from which on their axis is logarithmic
USUAL = ("d_loss", "g_loss", "grad_norm_d", "grad_norm_g")
PANELS = 6
GAP = "logit_real - logit_fake"
SIGNALS: dict[str, tuple[str, ...]] = {
    "d_loss_zero": ("d_loss", "g_loss", "accuracy_d", "grad_norm_g"),
    "exploding_gradient": ("grad_norm_d", "grad_norm_g", "d_loss", "g_loss"),
    "vanishing_generator_gradient": ("grad_norm_g", "accuracy_d", "d_loss", "logit_fake"),
    "d_loss_spiking": ("d_loss", "logit_real", "logit_fake", "grad_norm_d"),
    "generator_fooling": ("g_loss", "accuracy_d", "energy", "d_loss"),
    "oscillation": (GAP, "logit_real", "logit_fake", "d_loss"),
    "stagnation": ("score", "energy", "update_ratio_g", "update_ratio_d"),
    "clip_saturation": ("clip_share", "grad_slope_d", "d_loss"),
    "layer_gradient_blowup": ("grad_slope_d", "grad_slope_g", "grad_norm_d", "grad_norm_g"),
    "lipschitz_violation": ("interpolate_norm", "penalty_share", "penalty", "d_loss"),
    "critic_overfit": ("gap_train", "gap_held_out", "d_loss"),
    "critic_drift": ("logit_real", "logit_fake", "d_loss", "grad_norm_d"),
    "mode_collapse": ("diversity", "energy", "d_loss", "g_loss"),
    "mode_dropping": ("dropped", "real_beyond", "diversity", "energy"),
    "memorisation": ("memorisation", "gap_train", "gap_held_out", "energy"),
}
THRESHOLDS: dict[str, tuple[str, ...]] = {  # signals on whose scale a detector's threshold is
    "exploding_gradient": ("grad_norm_d", "grad_norm_g"),
    "vanishing_generator_gradient": ("grad_norm_g",),
    "clip_saturation": ("clip_share",),
    "mode_collapse": ("diversity",),
    "critic_drift": ("logit_real", "logit_fake"),
    "mode_dropping": ("dropped",),
    "memorisation": ("memorisation",),
}


def event_figure(history: pa.Table, event: Event) -> bytes:
    """Return a PNG of the signals around an event; equal bytes for equal arguments.

    Args:
        history: a row a step: `step`, and a column a signal, null where it has no value.
        event: of the training whose history it is; its evidence has the window, in steps.
    """
    from matplotlib.figure import Figure

    window = event.evidence.get("window", 1.0)
    shaded = window if isinstance(window, float) else 1.0
    width = max(LEAST, int(shaded))
    part = _between(history, event.step - (1 + BEFORE) * width, event.step + AFTER * width)
    part = _with_gap(part)
    names = [name for name in _wanted(event) if name in part.column_names and part[name].null_count < len(part)]
    figure = Figure(figsize=(8, 1.1 + 1.5 * max(1, len(names))), dpi=100, layout="constrained")
    figure.suptitle("\n".join(textwrap.wrap(f"{event.kind}: {event.message}", 90)), fontsize=9)
    panels = figure.subplots(max(1, len(names)), 1, sharex=True, squeeze=False)[:, 0]
    for axes, name in zip(panels, names, strict=False):
        threshold = event.evidence.get("threshold") if name in THRESHOLDS.get(event.kind, ()) else None
        _draw(axes, part, name, threshold if isinstance(threshold, float) else None)
    for axes in panels:
        axes.axvspan(max(0, event.step - shaded), event.step, color="0.9", zorder=0)
        axes.axvline(event.step, color="tab:red", linewidth=1)
    panels[-1].set_xlabel("step (discriminator updates)")
    sink = io.BytesIO()
    figure.savefig(sink, format="png", metadata={"Software": None})
    return sink.getvalue()


def _wanted(event: Event) -> Sequence[str]:
    """Return the signals to draw: what the evidence names, as a detector of a user's own does, then the usual ones."""
    signal = event.evidence.get("signal")
    first = (signal,) if isinstance(signal, str) else ()
    named = () if event.kind in SIGNALS else tuple(event.evidence)
    return tuple(dict.fromkeys((*first, *named, *SIGNALS.get(event.kind, USUAL))))[:PANELS]


def _with_gap(part: pa.Table) -> pa.Table:
    """Add what D says of real samples less what it says of generated ones, where it says something of both."""
    if GAP in part.column_names or not {"logit_real", "logit_fake"} <= set(part.column_names):
        return part
    return part.append_column(GAP, pc.subtract(part["logit_real"], part["logit_fake"]))


def _between(history: pa.Table, first: int, last: int) -> pa.Table:
    steps = history["step"].to_numpy()
    return history.filter(pa.array((steps >= first) & (steps <= last)))


def _scale(values: npt.NDArray[np.float64]) -> Literal["linear", "log", "symlog"]:
    sizes = np.abs(values[values != 0])
    if not len(sizes):
        return "linear"
    if values.min() > 0:
        return "log" if math.log10(sizes.max() / sizes.min()) > DECADES else "linear"
    return "symlog" if math.log10(sizes.max() / np.median(sizes)) > DECADES else "linear"


def _draw(axes: Axes, part: pa.Table, name: str, threshold: float | None) -> None:
    there = part[name].is_valid().to_numpy()
    steps, values = part["step"].to_numpy()[there], part[name].drop_null().to_numpy().astype(np.float64)
    finite = np.isfinite(values)
    dots: dict[str, Any] = {"marker": "."} if len(values) < len(part) / 2 else {}
    axes.plot(steps[finite], values[finite], linewidth=0.8, **dots)
    for step in steps[~finite][:LEAST]:
        axes.axvline(int(step), color="tab:orange", linewidth=0.5)  # NaN or infinite
    if threshold is not None:
        axes.axhline(threshold, color="tab:red", linestyle="--", linewidth=0.8)
    shown = values[finite]
    scale = _scale(shown)
    if scale == "symlog":  # one spike, beside which all else would be a line at 0
        axes.set_yscale("symlog", linthresh=float(np.median(np.abs(shown[shown != 0]))))
    elif scale == "log":
        axes.set_yscale("log")
    axes.set_ylabel(name, fontsize=8)
    axes.tick_params(labelsize=7)
