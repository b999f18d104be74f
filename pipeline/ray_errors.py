"""What an error of Ray says of a worker: the cause of its loss, in one sentence; no Ray."""

from __future__ import annotations

import re

from pipeline.ports import Loss, WorkerDiedError, cause_of, sentence
from pipeline.records import Cause
from trainers.errors import GansearchError, Unreachable, UserError

# Ray's explanations; its long guesses at what else may have happened come after these words.
_NODE_DIED, _GUESSES = "its node has died", " Some common causes include"


def loss(error: Exception, worker: str, *, node_dead: bool) -> Loss:
    """Return the loss that an error of Ray amounts to.

    Ray's classes are known by their names, and its memory monitor by its class alone: the text of every death mentions
    memory as a possible reason.

    Args:
        error: a RayError that came in place of an answer.
        worker: its name.
        node_dead: whether Ray counts its node as dead.
    """
    cause = _cause(error, node_dead)
    why = _explanation(error)
    details = {
        "preemption": f"the node of {worker} was taken away",
        "node_lost": f"{worker} is out of reach: {why}",
        "host_memory": f"{worker} was ended for its node's memory: {why}",
    }
    return Loss(cause=cause, detail=details.get(cause, why), traceback=str(error))


def before_training(error: Exception) -> GansearchError:
    """Return what to tell of an error that came before there was a trial to blame.

    Args:
        error: a RayError; one of the worker's own code has it as `cause`.
    """
    cause = getattr(error, "cause", None)
    if isinstance(cause, GansearchError):
        return cause
    if cause is None:
        return WorkerDiedError(f"a worker died before the first trial: {sentence(error)}; Ray's logs of it say more")
    if isinstance(cause, ImportError):
        return Unreachable(f"a worker cannot start: {sentence(cause)}; every node needs the driver's packages")
    if cause_of(cause) == "user_error":
        places = re.findall(r'File "([^"]+)", line (\d+)', str(error))
        where = f" at {places[-1][0]}:{places[-1][1]}" if places else ""
        return UserError(f"no training can be built: {sentence(cause)}{where}")
    return Unreachable(f"a worker cannot start: {sentence(cause)}; see to its memory and its device")


def _cause(error: Exception, node_dead: bool) -> Cause:
    names = {cls.__name__ for cls in type(error).__mro__}
    if getattr(error, "preempted", False):
        return "preemption"
    if "OutOfMemoryError" in names:
        return "host_memory"
    if node_dead or names & {"ActorUnavailableError", "NodeDiedError"} or _NODE_DIED in str(error):
        return "node_lost"
    return "worker_lost"


def _explanation(error: Exception) -> str:
    """Return the line that tells most: Ray puts it last, below a table of ids."""
    told = [
        line for line in str(error).splitlines() if line.startswith("The actor ") and "before finishing" not in line
    ]
    line = f"{type(error).__name__}: {told[-1]}" if told else sentence(error)
    return line.partition(_GUESSES)[0]
