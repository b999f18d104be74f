"""stagnation: nothing has been learned, or it has been lost again."""

from __future__ import annotations

from trainers.params.detectors import StagnationParams
from trainers.stability import Detector, Window
from trainers.stability.events import Event
from trainers.stability.windows import edge, event, full, values


def make(params: StagnationParams) -> Detector:
    """Detect that the samples' energy distance from the data stays above `threshold` times the untrained generator's.

    The distance is `Neighbours`': unlike many a score it has a value everywhere, and one scale for all data sets.
    """

    def detect(window: Window) -> Event | None:
        energies, untrained = window.signals["energy"], window.constants.untrained
        if untrained is None:
            return None
        length = values(params, window, "energy")
        end = edge(full(energies.values > params.threshold * untrained, length), energies, window.after)
        if end is None:
            return None
        step, best = int(energies.steps[end]), float(energies.values[end - length + 1 : end + 1].min())
        message = (
            f"the samples are at best {best:.3g} from the data in the {length} evaluations up to step {step}; "
            f"untrained they were {untrained:.3g}"
        )
        return event(params, step, message, best=best, untrained=untrained)

    return detect
