"""The cluster file is one that Ray's launcher takes, and is as careful as it says; no cloud is asked."""

import re
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from ray.autoscaler._private.util import prepare_config, validate_config

ROOT = Path(__file__).parents[2]
FILE = ROOT / "ray_cluster.yaml"


@pytest.fixture(scope="module")
def config() -> dict[str, Any]:
    prepared = prepare_config(yaml.safe_load(FILE.read_text()))
    validate_config(prepared)
    return prepared


def test_the_launcher_takes_it_without_asking_the_cloud(config: dict[str, Any]):
    assert config["provider"]["type"] == "aws"
    assert "boto3" not in sys.modules


def test_a_key_that_the_launcher_does_not_know_is_seen(config: dict[str, Any]):
    with pytest.raises(Exception, match="idle_minutes"):
        validate_config(config | {"idle_minutes": 5})


def test_no_trainer_fits_on_the_head_and_gpu_workers_are_spot_and_none_without_work(config: dict[str, Any]):
    head, worker = (config["available_node_types"][name] for name in ("head", "gpu_worker"))
    assert config["head_node_type"] == "head"
    assert head["resources"] == {"CPU": 0, "head": 1}
    assert (worker["min_workers"], worker["max_workers"], config["max_workers"]) == (0, 8, 8)
    assert worker["resources"]["GPU"] == 1
    assert worker["node_config"]["InstanceType"].startswith("g")
    assert worker["node_config"]["InstanceMarketOptions"] == {"MarketType": "spot"}
    assert config["idle_timeout_minutes"] <= 15
    assert config["provider"]["cache_stopped_nodes"] is False


def test_every_node_wants_imdsv2_and_encrypts_its_disks(config: dict[str, Any]):
    for node in config["available_node_types"].values():
        assert node["node_config"]["MetadataOptions"]["HttpTokens"] == "required"
        assert all(disk["Ebs"]["Encrypted"] is True for disk in node["node_config"]["BlockDeviceMappings"])


def test_every_ray_process_wants_the_token_and_the_dashboard_stays_on_the_node(config: dict[str, Any]):
    assert "--env RAY_AUTH_MODE=token" in config["docker"]["run_options"]
    starts = [c for key in ("head", "worker") for c in config[f"{key}_start_ray_commands"] if "ray start" in c]
    assert len(starts) == 2
    assert all("RAY_AUTH_MODE=token ray start" in command for command in starts)
    assert "--dashboard-host=127.0.0.1" in starts[0]
    assert config["file_mounts"]["~/.ray/auth_token"] == "~/.ray/auth_token"
    assert "chmod 600 ~/.ray/auth_token" in config["setup_commands"]


def test_it_holds_no_secret():
    text = FILE.read_text()
    assert not re.search(r"AKIA[0-9A-Z]{16}|PRIVATE KEY|[0-9a-f]{32,}", text)
    assert not re.search(r"RAY_AUTH_TOKEN=|PASSWORD=|SECRET", text, re.IGNORECASE)


def test_what_does_not_belong_on_a_node_is_not_copied(config: dict[str, Any]):
    assert {".git/", ".venv/", "gansearch-store/", "mlruns/", "data/"} <= set(config["rsync_exclude"])


def test_versions_are_pinned_as_in_the_constraints(config: dict[str, Any]):
    pinned = dict(re.findall(r'"([a-z]+)(?:\[default\])?==([\d.]+)"', " ".join(config["setup_commands"])))
    assert pinned.keys() == {"ray", "torch", "torchvision"}
    constraints = dict(re.findall(r"^([\w-]+)==([\d.]+)", (ROOT / "constraints.txt").read_text(), re.MULTILINE))
    assert pinned == {name: constraints[name] for name in pinned}
    assert config["docker"]["image"] == f"rayproject/ray:{pinned['ray']}-py311-gpu"
    assert any(option.startswith("--shm-size=") for option in config["docker"]["run_options"])
    assert any(option.startswith("--ulimit nofile=") for option in config["docker"]["run_options"])
