"""MLflow's surroundings: its environment, its server's command and its refusals in plain words; imports no MLflow."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

from pipeline.safe_text import redact
from trainers.errors import ConfigError

# MLflow reads these when it is imported, or at each call. By itself it waits 4 minutes for a server that is down; the
# projector tries again on its own, so one call gives up soon. Whoever sets one of them is obeyed.
for _name, _value in {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_DISABLE_AGENT_HINT": "true",
    "MLFLOW_LOGGING_LEVEL": "WARNING",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",  # ending a run of a server would talk there
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "20",
}.items():
    os.environ.setdefault(_name, _value)


@contextmanager
def environment(**values: str) -> Iterator[None]:
    """Set environment variables of this process while the context lasts."""
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name)
            else:
                os.environ[name] = value


def mend(tracking_uri: str, error: Exception, status: int) -> str:
    """Return why MLflow cannot be used, and what to do about it.

    Args:
        tracking_uri: that was asked.
        error: what its client raised.
        status: of the HTTP answer; anything but 401 and 403 is taken for no answer.
    """
    text = str(error)
    if "Invalid Host header" in text:
        host = urlsplit(tracking_uri).hostname
        return f"it refuses its own name (403); start the server with --allowed-hosts '{host},{host}:*'"
    if status in (401, 403):
        names = "MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, or MLFLOW_TRACKING_TOKEN"
        return f"it refuses the credentials ({status}); set {names}"
    if isinstance(error, ImportError):
        return f"{text}; install the driver of that database, or the client of the place that holds its files"
    if urlsplit(tracking_uri).scheme.startswith("sqlite"):
        first = redact(text.splitlines()[0] if text else type(error).__name__)
        return f"{first[:300]}; move the file away, and `gansearch sync` makes it anew from the ledger"
    first = redact(text.splitlines()[0] if text else type(error).__name__)
    return f"{first[:300]}; start the server, or leave out --tracking-uri to keep the runs in the store"


def ui_command(tracking_uri: str, artifacts: Path, port: int) -> list[str]:
    """Return the command that serves MLflow's pages for a database, to this machine alone.

    Args:
        tracking_uri: of a database; a server has its own pages.
        artifacts: folder for the files of runs that others log through this server.
        port: to listen on.

    Raises:
        ConfigError: the URI is a server's.
    """
    if tracking_uri.startswith("http"):
        raise ConfigError(f"{redact(tracking_uri)} is a server with pages of its own; open it in a browser")
    where = ["--backend-store-uri", tracking_uri, "--artifacts-destination", artifacts.as_uri()]
    listen = ["--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    return [sys.executable, "-m", "mlflow", "server", *where, *listen]
