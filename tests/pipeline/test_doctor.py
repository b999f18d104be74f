"""Each check can say yes and no, and a no comes with its mend."""

import re
import subprocess
import sys
import tomllib
from collections import namedtuple
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline import doctor
from trainers.errors import Unreachable
from trainers.registry import Params

ROOT = Path(__file__).parents[2]


def test_the_floors_are_those_of_the_project_file():
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    parsed = (re.fullmatch(r"([\w-]+)>=([\d.]+)(,.*)?", line) for line in declared)
    assert {found[1]: found[2] for found in parsed if found} == doctor.FLOORS


def test_this_machine_has_every_library_and_the_store_is_left_clean(tmp_path: Path):
    checks = doctor.run_checks(store=str(tmp_path / "store"))
    assert [(check.name, check.detail) for check in checks if not check.ok] == []
    assert {"python", "torch", "mlflow", "torch and torchvision", "gpu", "store", "shared memory", "data digits"} <= {
        check.name for check in checks
    }
    assert [path for path in (tmp_path / "store").rglob("*") if path.is_file()] == []


@pytest.mark.parametrize(("version", "ok"), [((3, 10), False), ((3, 11), True), ((4, 0), True)])
def test_python_has_a_floor(version: tuple[int, int], ok: bool):
    assert doctor.python_check(version).ok is ok


@pytest.mark.parametrize(
    ("name", "floor", "detail"),
    [("numpy", "99.1", "is older than 99.1"), ("no_such_library", "1", "No module named 'no_such_library'")],
)
def test_a_library_that_is_old_or_missing_is_named_with_its_mend(name: str, floor: str, detail: str):
    check = doctor.library_check(name, floor)
    assert not check.ok
    assert detail in check.detail
    assert check.mend == f"pip install '{name}>={floor}'"


@given(st.lists(st.integers(0, 999), min_size=1, max_size=4), st.lists(st.integers(0, 999), min_size=1, max_size=4))
def test_releases_are_compared_by_number(have: list[int], want: list[int]):
    width = max(len(have), len(want))
    padded = [part + [0] * (width - len(part)) for part in (have, want)]
    version, floor = (".".join(map(str, part)) for part in (have, want))
    assert doctor.at_least(f"{version}+cu130", floor) is (padded[0] >= padded[1])


def test_a_store_that_cannot_be_one_fails(tmp_path: Path):
    (tmp_path / "file").write_text("not a folder")
    check = doctor.store_check(str(tmp_path / "file"))
    assert not check.ok
    assert str(tmp_path / "file") in check.detail
    assert "--store" in check.mend


def test_a_full_disk_and_a_small_shared_memory_fail(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr("shutil.disk_usage", lambda _: usage(2**20, 2**20, 0))
    assert "0.00 GiB free" in doctor.store_check(str(tmp_path)).detail
    assert "--shm-size" in doctor.shm_check(tmp_path).mend


def test_a_data_set_that_is_not_there_fails(tmp_path: Path):
    from trainers.params.data import VisionParams

    check = doctor.data_check(VisionParams(name="mnist", root=str(tmp_path / "nowhere")))
    assert not check.ok
    assert check.mend


def test_an_unknown_data_set_fails():
    assert "no_such_set" in doctor.data_check(Params(name="no_such_set")).detail


def out_of_reach(*_: object) -> list[doctor.Check]:
    raise Unreachable("http://server answers 403; pass --allowed-hosts")


def test_mlflow_and_ray_out_of_reach_are_failures_with_their_text():
    for check in doctor.tracking_check(out_of_reach), *doctor.worker_checks(out_of_reach):
        assert not check.ok
        assert check.detail == "http://server answers 403; pass --allowed-hosts"
        assert check.mend


def test_a_workers_checks_carry_its_name():
    broken = doctor.Check(name="torch", ok=False, detail="missing", mend="install it")
    checks = doctor.worker_checks(lambda _: [broken])
    assert [(check.name, check.ok) for check in checks] == [("ray workers", True), ("worker: torch", False)]


def test_doctor_itself_loads_no_heavy_library():
    code = "import sys, pipeline.doctor; sys.exit(bool({'torch', 'ray', 'mlflow', 'optuna'} & sys.modules.keys()))"
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, env={"PYTHONPATH": str(ROOT)}, check=True)
