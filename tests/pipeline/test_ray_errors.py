"""Ray's own errors, with the texts that it gave when workers and nodes were killed, and the cause that each is."""

import pytest
from ray.core.generated.common_pb2 import ActorDiedErrorContext, NodeDeathInfo
from ray.exceptions import (
    ActorDiedError,
    ActorUnavailableError,
    NodeDiedError,
    OutOfMemoryError,
    RayError,
    WorkerCrashedError,
)

from pipeline.ray_errors import loss

KILLED = (
    "The actor is dead because its worker process has died. Worker exit type: SYSTEM_ERROR Worker exit detail: "
    "Worker unexpectedly exits with a connection error code 2. End of file. Some common causes include: "
    "(1) the process was killed by the OOM killer due to high memory usage, (2) ray stop --force was called."
)
NODE = (
    "The actor died because its node has died. Node Id: 02805ab8\n"
    "\tthe actor's node was terminated unexpectedly: health check failed due to missing too many heartbeats"
)
MEMORY = "1 worker(s) were killed due to the node running low on memory. Memory was 7.6GB used / 23.5GB limit\nOOM kill"
PREEMPTED = NodeDeathInfo(reason=NodeDeathInfo.AUTOSCALER_DRAIN_PREEMPTED)
ID = bytes(16)


def died(text: str = "", **more: object) -> ActorDiedError:
    return ActorDiedError(ActorDiedErrorContext(actor_id=ID, class_name="Actor", pid=7, error_message=text, **more))


@pytest.mark.parametrize(
    ("error", "node_dead", "cause", "told"),
    [
        (died(KILLED), False, "worker_lost", "Worker unexpectedly exits with a connection error code 2. End of file."),
        (died(KILLED), True, "node_lost", "worker-3 is out of reach"),
        (died(NODE), False, "node_lost", "its node has died. Node Id: 02805ab8"),
        (died(node_death_info=PREEMPTED), True, "preemption", "the node of worker-3 was taken away"),
        (ActorUnavailableError("Socket closed", ID), False, "node_lost", "Socket closed"),
        (NodeDiedError("no heartbeat"), False, "node_lost", "no heartbeat"),
        (OutOfMemoryError(MEMORY), False, "host_memory", "7.6GB used / 23.5GB limit"),
        (OutOfMemoryError(MEMORY), True, "host_memory", "worker-3 was ended for its node's memory"),
        (WorkerCrashedError(), False, "worker_lost", "The worker died unexpectedly"),
        (ActorDiedError(), False, "worker_lost", "The actor died unexpectedly"),
    ],
)
def test_each_error_has_its_cause_and_one_line_that_tells_why(error: RayError, node_dead: bool, cause: str, told: str):
    found = loss(error, "worker-3", node_dead=node_dead)
    assert found.cause == cause
    assert told in found.detail
    assert "\n" not in found.detail
    assert "common causes" not in found.detail
    assert found.traceback == str(error)
