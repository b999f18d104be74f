"""How Ray is started here or joined elsewhere, and what its processes find in their environment; no Ray."""

from __future__ import annotations

import importlib
import logging
import os
import secrets
import signal
import socket
import stat
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pipeline.ports import StoppedError, sentence
from trainers.errors import ConfigError, Unreachable

OBJECT_STORE_BYTES = 200 * 2**20  # answers are small: everything large goes through the store
LAST_PORT = 65535
_SHIPPED = ("pipeline", "trainers", "search_spaces")
_MEND = "RAY_TMPDIR names a short, writable directory for its files"

# Ray reads this when it is imported. 0 is what it is elsewhere than on Linux: a Ray that is started here then listens
# on the loopback alone. A cluster that is joined listens where its own nodes were told to. Whoever sets it is obeyed.
os.environ.setdefault("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")
# By itself Ray's gRPC asks every 300 s whether the other end is there, and waits 120 s for the answer: so long would a
# driver wait for a node that froze. With these a worker out of reach is replaced after at most half a minute. Both ends
# ask and answer in threads of C++ that need no Python, so a trainer or a driver that is busy is not taken for a dead
# one; 20 s without an answer are more than a machine that swaps or a network that hiccups needs.
os.environ.setdefault("RAY_grpc_client_keepalive_time_ms", "10000")
os.environ.setdefault("RAY_grpc_client_keepalive_timeout_ms", "20000")


def begin(
    init: Callable[..., object],
    shutdown: Callable[[], object],
    workers: int,
    address: str | None,
    modules: Sequence[str],
) -> None:
    """Start Ray here, or join a cluster; what it was told to stop meanwhile, is stopped.

    Args:
        init: `ray.init`.
        shutdown: `ray.shutdown`.
        workers: see `local`.
        address: see `joined`; None is here.
        modules: see `joined`.

    Raises:
        Unreachable: Ray does not start or answer.
        StoppedError: SIGTERM came meanwhile.
    """
    options, mend = local(workers) if address is None else joined(address, modules)
    try:
        with own_signals():
            init(**options)
    except StoppedError:
        shutdown()
        raise
    except Exception as error:  # of its own classes, of the standard library's, and of no class at all
        shutdown()
        place = "here" if address is None else f"at {address}"
        raise Unreachable(f"Ray does not answer {place}: {sentence(error)}; {mend}") from error


def local(workers: int) -> tuple[dict[str, Any], str]:
    """Return the options that start Ray here with a CPU a worker, and what to do where it does not start.

    Such a Ray asks for a token in any case, also where the shell says RAY_AUTH_MODE=disabled for another one.

    Raises:
        Unreachable: there is no folder for its files that is the user's alone.
    """
    if os.environ.get("RAY_AUTH_MODE", "").lower() != "token":
        os.environ.pop("RAY_AUTH_MODE", None)  # without a word of it, a Ray that is started here asks for a token
    if not any(os.environ.get(name, "").strip() for name in ("RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH")):
        # Ray would write a token into the home directory, readable by everybody.
        os.environ["RAY_AUTH_TOKEN"] = secrets.token_hex(32)
    where = {"address": "local", "num_cpus": workers, "include_dashboard": False, "_temp_dir": str(_own_folder() / "r")}
    return where | {"object_store_memory": OBJECT_STORE_BYTES} | _quiet(), _MEND


def joined(address: str, modules: Sequence[str]) -> tuple[dict[str, Any], str]:
    """Return the options that join the cluster at an address, and what to do where it does not let us in.

    Args:
        address: "auto" or "host:port".
        modules: top-level modules to send there, beside our own packages.

    Raises:
        ConfigError: the address is of another form, or can be nobody's.
        Unreachable: nobody listens there.
    """
    if address != "auto":
        _probe(address)
    paths = [_path(name) for name in (*_SHIPPED, *modules)]
    mend = "this machine must be a node of the cluster, with its Ray and Python versions and its token"
    mend += " (RAY_AUTH_MODE=token and RAY_AUTH_TOKEN or RAY_AUTH_TOKEN_PATH)"
    return {"address": address, "runtime_env": {"py_modules": paths}} | _quiet(), mend


def worker_environment(share: float) -> dict[str, str]:
    """Return the environment variables of a worker that has `share` GPUs."""
    env = {"OMP_NUM_THREADS": "1", "CUBLAS_WORKSPACE_CONFIG": ":4096:8"}
    if share == 0:
        env["CUDA_VISIBLE_DEVICES"] = ""  # Ray leaves it alone where no GPU is asked for
    elif share < 1:
        # A trial that needs more than its part fails alone, and not its neighbour; CUDA's contexts need the rest.
        env["PYTORCH_ALLOC_CONF"] = f"per_process_memory_fraction:{0.95 * share:.4f}"
    return env


@contextmanager
def own_signals() -> Iterator[None]:
    """Keep our handler of SIGTERM: ray.init puts one in its place that ends the process with an exit code of its own.

    Raises:
        StoppedError: SIGTERM came meanwhile.
    """
    before = signal.getsignal(signal.SIGTERM)
    try:
        yield
    except SystemExit as ended:
        if callable(before):
            before(signal.SIGTERM, None)
        raise StoppedError("stopped while Ray was starting; the same command begins again") from ended
    finally:
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, before)


def _quiet() -> dict[str, Any]:
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nothing is sent unasked
    return {"log_to_driver": False, "logging_level": logging.ERROR}


def _own_folder() -> Path:
    """Return a folder that no other user can enter: Ray lets everybody read and write the one for its files.

    Its path is short, since that of a socket has at most 107 bytes; so macOS's own temporary folder is left out.
    """
    usual = "/tmp" if sys.platform == "darwin" else tempfile.gettempdir()  # noqa: S108 - what is made there is checked
    folder = Path(os.environ.get("RAY_TMPDIR") or usual, f"gs-{os.getuid()}")
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        found = folder.lstat()
    except OSError as error:
        raise Unreachable(f"Ray has no folder at {folder}: {error.strerror}; {_MEND}") from error
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or found.st_mode & 0o077:
        raise Unreachable(f"Ray's folder {folder} must be yours alone (mode 0700, no link): remove it; or {_MEND}")
    return folder


def _path(name: str) -> str:
    module = importlib.import_module(name)
    return str(next(iter(getattr(module, "__path__", [])), module.__file__))


def _probe(address: str) -> None:
    """Find out within seconds whether anything listens; Ray itself takes its time."""
    host, colon, port = address.rpartition(":")
    got = f"but got address={address}"
    if "://" in address or not colon or not port.isdecimal():
        raise ConfigError(f"address must be auto or host:port, {got}")
    if len(port) > len(str(LAST_PORT)) or int(port) > LAST_PORT:
        raise ConfigError(f"the port of address must be at most {LAST_PORT}, {got}")
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=5).close()
    except ValueError as error:  # Python cannot write it as a name of the DNS
        raise ConfigError(f"address must begin with the name of a host, {got}") from error
    except OSError as error:
        mend = "start it (ray start --head), or leave --address out to run here"
        raise Unreachable(f"no Ray cluster answers at {address}: {sentence(error)}; {mend}") from error
