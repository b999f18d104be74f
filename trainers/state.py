"""Everything that a resumed training needs; save, load: safetensors, which runs no code."""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from trainers.errors import IntegrityError
from trainers.game import Game, Player

FORMAT = 2  # 1 had one array of signals

Past = npt.NDArray[np.float64]


class MisfitError(IntegrityError):
    """A state is not of the game that it was to be put into; the code may have changed since it was saved."""


@dataclass(frozen=True, kw_only=True)
class TrainState:
    """A training after `step` discriminator updates.

    Attributes:
        step: discriminator updates so far.
        tensors: on the CPU, by name: networks, their average, and optimizers, parameters and buffers alike.
        past: what detectors look back on: of each signal its latest steps and values, float64 [n, 2].
    """

    step: int
    tensors: Mapping[str, Tensor]
    past: Mapping[str, Past]


def snapshot(game: Game, average: nn.Module, step: int, past: Mapping[str, Past]) -> TrainState:
    """Copy the state of a game to the CPU."""
    named: dict[str, Tensor] = {}
    for name, network in (*game.networks.items(), ("average", average)):
        named |= {f"{name}/{key}": value for key, value in network.state_dict().items()}
    for player in game.players:
        for index, entries in player.optimizer.state_dict()["state"].items():
            named |= {f"optimizer/{player.name}/{index}/{key}": value for key, value in entries.items()}
    return TrainState(step=step, tensors={key: _copy(value) for key, value in named.items()}, past=past)


def restore(game: Game, average: nn.Module, state: TrainState) -> None:
    """Put a state into a game that was built from the same configuration.

    Raises:
        MisfitError: the state's names or shapes are not those of this game.
    """
    try:
        for name, network in (*game.networks.items(), ("average", average)):
            network.load_state_dict(_below(state.tensors, f"{name}/"))
        for player in game.players:
            _restore_optimizer(player, state)
    except (RuntimeError, KeyError, ValueError) as error:
        raise MisfitError(f"the checkpoint of step {state.step} does not fit this configuration: {error}") from error


def save(state: TrainState, owner: str = "") -> bytes:
    """Serialise a state; equal states of one owner give equal bytes.

    Args:
        state: of a training.
        owner: whose it is; the bytes of two owners differ, so that neither can throw the other's away.
    """
    from safetensors.torch import save as to_bytes

    # One entry: safetensors writes several in an order that changes from call to call.
    header = {"checkpoint": json.dumps({"format": FORMAT, "step": state.step, "owner": owner})}
    past = {f"past/{name}": torch.from_numpy(np.ascontiguousarray(rows)) for name, rows in state.past.items()}
    data: bytes = to_bytes({**state.tensors, **past}, metadata=header)
    return data


def load(data: bytes) -> TrainState:
    """Read a state that `save` wrote.

    Raises:
        IntegrityError: the bytes are not such a state, or of another format version.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load as from_bytes

    try:
        tensors = from_bytes(data)
        header = json.loads(metadata(data)["checkpoint"])
        step, version = int(header["step"]), int(header["format"])
    except (SafetensorError, KeyError, ValueError, TypeError) as error:
        raise IntegrityError(f"not a checkpoint: {error}") from error
    if version != FORMAT:
        raise IntegrityError(f"the checkpoint has format {version}, but this version reads format {FORMAT}")
    past = _below(tensors, "past/")
    for name, rows in past.items():
        if rows.ndim != 2 or rows.dtype != torch.float64:  # noqa: PLR2004 - steps and values
            raise IntegrityError(f"not a checkpoint: its {name} is {rows.dtype} {list(rows.shape)}")
    kept = {name: tensor for name, tensor in tensors.items() if not name.startswith("past/")}
    return TrainState(step=step, tensors=kept, past={name: rows.numpy() for name, rows in past.items()})


def metadata(data: bytes) -> dict[str, str]:
    """Return the text header of a safetensors file, whose length stands in its first eight bytes."""
    length = int.from_bytes(data[:8], "little")
    header: dict[str, dict[str, str]] = json.loads(data[8 : 8 + length])
    return header.get("__metadata__", {})


def _copy(value: Tensor) -> Tensor:
    return value.detach().to("cpu", copy=True).contiguous()


def _below(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {key[len(prefix) :]: value for key, value in tensors.items() if key.startswith(prefix)}


Entries = dict[int, dict[str, Tensor]]


def _restore_optimizer(player: Player, state: TrainState) -> None:
    entries = _entries(_below(state.tensors, f"optimizer/{player.name}/"))
    expected = _entry_shapes(player.optimizer) if any(map(player.due, range(1, state.step + 1))) else {}
    if _shapes(entries) != expected:
        raise MisfitError(
            f"the checkpoint of step {state.step} does not fit this configuration: "
            f"it does not hold what the optimizer of the {player.name} needs"
        )
    groups = player.optimizer.state_dict()["param_groups"]
    player.optimizer.load_state_dict({"state": entries, "param_groups": groups})


def _entries(tensors: Mapping[str, Tensor]) -> Entries:
    entries: Entries = {}
    for path, value in tensors.items():
        index, _, key = path.partition("/")
        entries.setdefault(int(index), {})[key] = value
    return entries


def _shapes(entries: Entries) -> dict[int, dict[str, torch.Size]]:
    return {index: {key: value.shape for key, value in entry.items()} for index, entry in entries.items()}


def _entry_shapes(optimizer: torch.optim.Optimizer) -> dict[int, dict[str, torch.Size]]:
    """Return what the state of an optimizer holds once it has made a step, which torch checks nowhere."""
    twin = copy.deepcopy(optimizer)
    for group in twin.param_groups:
        for weight in group["params"]:
            weight.grad = torch.zeros_like(weight)
    twin.step()
    return _shapes(twin.state_dict()["state"])
