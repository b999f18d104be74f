"""Ray's processes, as a test finds them among those that a driver, a node or a cluster has started."""

from __future__ import annotations

import secrets
from collections.abc import Iterable
from pathlib import Path

import psutil

from tests.command_line import alive, descendants, environment


def token() -> dict[str, str]:
    """Return a token of its own for a cluster, as its processes and its drivers have it in their environment."""
    return {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}


def cluster_environment(home: Path, **more: str) -> dict[str, str]:
    """Return the environment of who starts a cluster; Ray's sockets lie in `home`, whose path must be short."""
    return environment(home, RAY_TMPDIR=str(home), RAY_USAGE_STATS_ENABLED="0", **more)


def workers(pid: int) -> list[psutil.Process]:
    """Those of a process's descendants that are our workers; Ray names them after what they do."""
    return [child for child in descendants(pid) if name(child).startswith("ray::Actor") and alive(child)]


def trainers(pid: int) -> list[psutil.Process]:
    """Those of our workers that train now."""
    return [child for child in workers(pid) if name(child) in ("ray::Actor.start", "ray::Actor.advance")]


def named(pid: int, wanted: str) -> list[psutil.Process]:
    """Those of a process's descendants that have this name, and live."""
    return [child for child in descendants(pid) if name(child) == wanted and alive(child)]


def all_but_agents(pid: int) -> list[psutil.Process]:
    """All of a driver's descendants but Ray's agents, which take more than a minute to notice that they are alone."""
    found = [child for child in descendants(pid) if "Agent" not in name(child)]
    assert "raylet" in map(name, found), "no Ray runs: who would look for what stays would find nothing"
    return found


def running(processes: Iterable[psutil.Process]) -> list[psutil.Process]:
    """Those processes that have not ended."""
    return [process for process in processes if alive(process)]


def name(process: psutil.Process) -> str:
    """The name that a process has now; empty where it has ended."""
    try:
        return str(process.name())
    except psutil.Error:
        return ""
