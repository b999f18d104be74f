"""What a Ray that is started here finds in its environment, whatever the shell says."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from pipeline.ray_options import joined, local
from tests.command_line import free_port
from trainers.errors import ConfigError, Unreachable

ROOT = Path(__file__).parents[2]
PINGS = ("RAY_grpc_client_keepalive_time_ms", "RAY_grpc_client_keepalive_timeout_ms")


@pytest.fixture(autouse=True)
def _shell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path))
    for name in ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"):
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)


@pytest.mark.parametrize("mode", ["disabled", "DISABLED", ""])
@pytest.mark.parametrize("token", ["", " ", None])
def test_a_shell_that_switches_the_token_off_does_not_do_so_here(monkeypatch, mode, token):
    monkeypatch.setenv("RAY_AUTH_MODE", mode)
    if token is not None:
        monkeypatch.setenv("RAY_AUTH_TOKEN", token)
    local(1)
    assert "RAY_AUTH_MODE" not in os.environ, "Ray itself then asks for one, and refuses an empty mode"
    assert len(os.environ["RAY_AUTH_TOKEN"]) == 64


@pytest.mark.parametrize("name", ["RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"])
def test_a_token_of_the_users_own_is_kept(monkeypatch, name):
    monkeypatch.setenv("RAY_AUTH_MODE", "token")
    monkeypatch.setenv(name, "mine")
    local(1)
    assert os.environ["RAY_AUTH_MODE"] == "token"
    assert os.environ[name] == "mine"
    assert name == "RAY_AUTH_TOKEN" or "RAY_AUTH_TOKEN" not in os.environ


@pytest.mark.parametrize(
    ("address", "rule"),
    [
        ("here", "address must be auto or host:port, but got address=here"),
        ("ray://here:1", "address must be auto or host:port"),
        ("127.0.0.1:\u00b2", "address must be auto or host:port"),
        ("127.0.0.1:65536", "the port of address must be at most 65535, but got address=127.0.0.1:65536"),
        ("127.0.0.1:" + "9" * 30, "the port of address must be at most 65535"),
        ("127.0.0.1:" + "9" * 5000, "the port of address must be at most 65535"),
        ("a..b:1", "address must begin with the name of a host, but got address=a..b:1"),
        ("x" * 70 + ".example:1", "address must begin with the name of a host"),
        ("\udcff:1", "address must begin with the name of a host"),
    ],
)
def test_an_address_that_can_be_nobodys_is_refused_with_the_rule(address, rule):
    with pytest.raises(ConfigError) as caught:
        joined(address, ())
    assert str(caught.value).startswith(rule)


def test_an_address_at_which_nobody_listens_is_out_of_reach():
    with pytest.raises(Unreachable, match="no Ray cluster answers at"):
        joined(f"127.0.0.1:{free_port()}", ())


def pings(**shell: str) -> list[int]:
    """What Ray itself counts with, once it is imported after the executor's file."""
    code = (
        "import pipeline.ray_executor; from ray._raylet import Config; print(Config.grpc_client_keepalive_time_ms(), "
    )
    code += " Config.grpc_client_keepalive_timeout_ms())"
    env = {key: value for key, value in os.environ.items() if key not in PINGS} | {"PYTHONPATH": str(ROOT)} | shell
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True)
    return [int(word) for word in done.stdout.split()]


def test_a_worker_out_of_reach_is_noticed_within_half_a_minute_unless_the_user_says_otherwise():
    assert pings() == [10_000, 20_000]
    assert pings(**{PINGS[0]: "1000"}) == [1000, 20_000]


def test_a_cluster_has_the_same_patience():
    options = yaml.safe_load((ROOT / "ray_cluster.yaml").read_text())["docker"]["run_options"]
    assert {f"--env {PINGS[0]}=10000", f"--env {PINGS[1]}=20000"} <= set(options)
