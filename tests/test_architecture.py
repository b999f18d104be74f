"""The rooms, who may import whom, and the limits that keep each file readable."""

from __future__ import annotations

import ast
import graphlib
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
ROOMS = ("trainers", "search_spaces", "pipeline")
MAX_FILE_LINES, MAX_BODY_LINES = 300, 40
MAX_OBJECTIVE_LINES = 60

# From the lowest room to the highest. A module imports only from rows above its own, or, where that makes no cycle,
# from its own row. `*` stands for the variants of a kind: a new one is a new file, and no new row here.
LAYERS = (
    "trainers trainers.errors trainers.shipped",
    "trainers.registry",
    "trainers.params trainers.params.*",
    "trainers.config trainers.stability.events",
    "trainers.checks trainers.draws trainers.environment trainers.stability trainers.objectives trainers.data"
    " trainers.game trainers.penalties trainers.networks trainers.schedule trainers.optimizers trainers.history_file"
    " trainers.stability.measures trainers.stability.derived trainers.stability.windows",
    "trainers.stability.detectors trainers.stability.detectors.* trainers.objectives.* trainers.networks.*"
    " trainers.data.* trainers.history trainers.watch trainers.evaluation.neighbours"
    " trainers.evaluation trainers.evaluation.extractor trainers.evaluation.frechet trainers.generate trainers.picture"
    " trainers.state trainers.labels trainers.lens trainers.memory",
    "trainers.gan trainers.vae",
    "trainers.evaluation.* trainers.loop",
    "search_spaces.declarations",
    "search_spaces.*",
    "search_spaces",
    "pipeline pipeline.records pipeline.machine pipeline.store_port pipeline.disk_store pipeline.object_store"
    " pipeline.store pipeline.lease pipeline.yaml_file pipeline.stdout pipeline.signals pipeline.resources"
    " pipeline.keys pipeline.messages pipeline.safe_text pipeline.working_folder",
    "pipeline.book pipeline.config pipeline.config_schema pipeline.ports pipeline.journal pipeline.compaction",
    "pipeline.advice pipeline.figures pipeline.ledger pipeline.policies pipeline.order pipeline.projection"
    " pipeline.worker pipeline.actor pipeline.ray_errors pipeline.ray_options",
    "pipeline.janitor pipeline.asking pipeline.artifacts pipeline.mirror pipeline.shelf pipeline.backlog"
    " pipeline.projector pipeline.projectors pipeline.mlflow_process pipeline.database_file",
    "pipeline.study pipeline.optuna_storage pipeline.ray_executor pipeline.ray_places pipeline.ray_slot"
    " pipeline.mlflow_runs pipeline.mlflow_registry pipeline.mlflow_store",
    "pipeline.search pipeline.rerun pipeline.models pipeline.registry pipeline.doctor pipeline.drift pipeline.place"
    " pipeline.trackers pipeline.result",
    "pipeline.story",
    "pipeline.launch pipeline.commands pipeline.upkeep pipeline.view pipeline.emit",
    "pipeline.cli",
)
FOUNDATION = {"trainers.errors", "trainers.registry", "trainers.config"}  # all that a search space sees of trainers

# What a room may import anywhere in it, beside the standard library and the rooms below.
EVERYWHERE = {
    "trainers": {"torch", "numpy", "pyarrow", "pydantic"},
    "search_spaces": set(),
    "pipeline": {"numpy", "pyarrow", "pydantic"},
}
# Every other library, with exactly the files that import it.
HOMES = {
    "ray": {"pipeline/ray_executor.py", "pipeline/ray_places.py", "pipeline/ray_slot.py"},
    "obstore": {"pipeline/object_store.py"},
    "optuna": {"pipeline/study.py", "pipeline/optuna_storage.py"},
    "mlflow": {"pipeline/mlflow_store.py", "pipeline/mlflow_runs.py", "pipeline/mlflow_registry.py"},
    "sqlalchemy": {"pipeline/mlflow_runs.py", "pipeline/optuna_storage.py"},  # MLflow lets its exceptions through
    "typer": {"pipeline/cli.py"},
    "rich": {"pipeline/view.py"},
    "yaml": {"pipeline/yaml_file.py", "pipeline/commands.py", "pipeline/rerun.py", "pipeline/view.py"},
    "torch": {"pipeline/doctor.py"},  # in pipeline; trainers has it everywhere
    "torchvision": {"trainers/data/fetching.py", "pipeline/doctor.py"},
    "sklearn": {"trainers/data/digits.py", "trainers/evaluation/bins.py"},
    "safetensors": {
        "trainers/evaluation/extractor.py",
        "trainers/generate.py",
        "trainers/loop.py",
        "trainers/state.py",
    },
    "scipy": {"trainers/data/mat_file.py"},  # MATLAB's files
    "matplotlib": {"pipeline/figures.py"},
    "PIL": {"trainers/picture.py", "trainers/data/pictures.py"},
}
FOR_TYPES_ONLY = {"jaxtyping"}  # never imported when the software runs
STARTS_WITHOUT = ("torch", "ray", "mlflow", "optuna")
LIGHT = (
    "pipeline",
    "pipeline.cli",
    "pipeline.commands",
    "pipeline.config",
    "pipeline.records",
    "search_spaces",
    "trainers.config",
)
TOP_FOLDERS = {".ci", "benchmarks", "docs", "examples", "pipeline", "search_spaces", "tests", "trainers"}
TOP_FILES = {
    ".gitignore",
    "CONTRIBUTING.md",
    "Makefile",
    "README.md",
    "SECURITY.md",
    "constraints.txt",
    "pyproject.toml",
    "ray_cluster.yaml",
}
SIX = ("torch", "torchvision", "ray", "mlflow", "optuna", "pyarrow")


@dataclass(frozen=True)
class Import:
    """One import statement's target, and where it stands."""

    target: str
    lazy: bool  # in a function: it runs when that is called
    typing: bool  # under `if TYPE_CHECKING`: it never runs


def _files() -> list[Path]:
    return sorted(path for room in ROOMS for path in (ROOT / room).rglob("*.py"))


def _short(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def _module(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


@cache
def _tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text())


@cache
def _modules() -> dict[str, Path]:
    return {_module(path): path for path in _files()}


def _imports(node: ast.AST, *, lazy: bool = False, typing: bool = False) -> Iterator[Import]:
    for child in ast.iter_child_nodes(node):
        inner = lazy or isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        if isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test):
            for part in child.body:
                yield from _imports(ast.Module([part], []), lazy=inner, typing=True)
            for part in child.orelse:
                yield from _imports(ast.Module([part], []), lazy=inner, typing=typing)
            continue
        if isinstance(child, ast.Import):
            yield from (Import(alias.name, inner, typing) for alias in child.names)
        elif isinstance(child, ast.ImportFrom):
            assert child.level == 0, f"relative import in line {child.lineno}: write the whole name"
            whole = (f"{child.module}.{alias.name}" for alias in child.names)  # a module, or a name in one
            yield from (Import(name if name in _modules() else str(child.module), inner, typing) for name in whole)
        yield from _imports(child, lazy=inner, typing=typing)


@cache
def _imported(path: Path) -> tuple[Import, ...]:
    return tuple(_imports(_tree(path)))


def _ours(path: Path, *, typing: bool) -> set[str]:
    found = {item.target for item in _imported(path) if typing or not item.typing}
    return {name for name in found if name.partition(".")[0] in ROOMS} - {_module(path)}


def _layer(module: str) -> int:
    """Return a module's row: that with its name, else that whose pattern fits it."""
    for fits in (lambda entry: entry == module, lambda entry: "*" in entry and fnmatchcase(module, entry)):
        rows = [row for row, entries in enumerate(LAYERS) if any(map(fits, entries.split()))]
        if rows:
            assert len(rows) == 1, f"{module} stands in several rows of LAYERS"
            return rows[0]
    raise AssertionError(f"{module} has no place in LAYERS: put it into the lowest row that its imports allow")


def _third_party(path: Path) -> list[Import]:
    known = {*sys.stdlib_module_names, *ROOMS}
    return [item for item in _imported(path) if item.target.partition(".")[0] not in known]


def test_the_table_of_layers_names_no_module_that_is_gone() -> None:
    named = {entry for entries in LAYERS for entry in entries.split() if "*" not in entry}
    assert named <= _modules().keys()


@pytest.mark.parametrize("path", _files(), ids=_short)
def test_imports_point_down(path: Path) -> None:
    """Imports in functions count; those for types too, since a room that only names a higher one depends on it."""
    module = _module(path)
    own = _layer(module)
    up = {name for name in _ours(path, typing=True) if _layer(name) > own}
    assert not up, f"{module} imports from a higher room"


def test_no_module_imports_itself_by_way_of_others() -> None:
    """A package's own __init__ counts as an import of its modules only where one writes so; types make no cycle."""
    graph = {module: _ours(path, typing=False) for module, path in _modules().items()}
    graphlib.TopologicalSorter(graph).prepare()  # CycleError names the modules


def test_trainers_know_nothing_of_the_rooms_above() -> None:
    for module, path in _modules().items():
        if module.startswith("trainers"):
            assert not [name for name in _ours(path, typing=True) if not name.startswith("trainers")], module


def test_search_spaces_see_only_the_foundation_of_trainers() -> None:
    for module, path in _modules().items():
        if module.startswith("search_spaces"):
            seen = {name for name in _ours(path, typing=True) if not name.startswith("search_spaces")}
            assert seen <= FOUNDATION, module


def test_the_main_loop_names_no_library() -> None:
    assert not _third_party(ROOT / "pipeline/search.py")


@pytest.mark.parametrize("library", HOMES)
def test_every_library_has_its_home(library: str) -> None:
    homes = {
        _short(path)
        for path in _files()
        if library not in EVERYWHERE[path.relative_to(ROOT).parts[0]]
        and any(item.target.partition(".")[0] == library for item in _third_party(path))
    }
    assert homes == HOMES[library]


@pytest.mark.parametrize("path", _files(), ids=_short)
def test_no_library_comes_in_by_the_way(path: Path) -> None:
    anywhere = EVERYWHERE[path.relative_to(ROOT).parts[0]]
    for item in _third_party(path):
        library = item.target.partition(".")[0]
        if library in FOR_TYPES_ONLY:
            assert item.typing, f"{library} is for types only"
            continue
        assert library in anywhere | HOMES.keys(), f"{library} has no home"
        if library not in anywhere and _short(path).startswith("trainers"):
            assert item.lazy or item.typing, f"trainers import {library} where it is used, not at the top"


@pytest.mark.parametrize("module", LIGHT)
def test_what_starts_a_command_loads_no_heavy_library(module: str, tmp_path: Path) -> None:
    code = f"import sys, {module}; print(*sorted(set(sys.modules) & set({STARTS_WITHOUT!r})))"
    assert _python(code, tmp_path) == ""


def test_what_drives_a_search_loads_no_torch(tmp_path: Path) -> None:
    """Its workers need it; a driver that waits for it begins seconds later."""
    code = "import sys, pipeline.launch, pipeline.mlflow_store, pipeline.ray_executor; print('torch' in sys.modules)"
    assert _python(code, tmp_path) == "False"


def test_the_six_libraries_work_in_one_process(tmp_path: Path) -> None:
    """Two boxes that overlap, of which the kernel of torchvision keeps the better: torch and it were built together."""
    code = f"""
import {", ".join(SIX)}
from torchvision.ops import nms
boxes = torch.tensor([[0.0, 0.0, 10.0, 10.0], [1.0, 1.0, 10.0, 10.0], [20.0, 20.0, 30.0, 30.0]])
print(nms(boxes, torch.tensor([0.5, 0.9, 0.1]), 0.5).tolist())
"""
    assert _python(code, tmp_path) == "[1, 2]"


def _python(code: str, folder: Path) -> str:
    """Run code in an interpreter of its own, with this copy of the rooms, and return what it prints."""
    env = {**os.environ, "PYTHONPATH": str(ROOT), "MLFLOW_DISABLE_TELEMETRY": "true"}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=folder, env=env, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_the_top_level_is_the_layout_and_nothing_else() -> None:
    assert [name for name in sorted(TOP_FOLDERS) if not (ROOT / name).is_dir()] == []
    assert [name for name in sorted(TOP_FILES) if not (ROOT / name).is_file()] == []
    if not (ROOT / ".git").exists():
        pytest.skip("a copy without .git cannot say which files are part of the project")
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True)
    assert {line.partition("/")[0] for line in listed.stdout.splitlines()} <= TOP_FOLDERS | TOP_FILES


@pytest.mark.parametrize("path", _files(), ids=_short)
def test_a_file_can_be_read_at_one_sitting(path: Path) -> None:
    assert len(path.read_text().splitlines()) <= MAX_FILE_LINES
    functions = [node for node in ast.walk(_tree(path)) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
    lines = {f"{node.name}:{node.lineno}": int(node.end_lineno or 0) - node.body[0].lineno + 1 for node in functions}
    assert {name: count for name, count in lines.items() if count > MAX_BODY_LINES} == {}


def test_an_objective_is_a_file_of_60_lines() -> None:
    sizes = {path.name: len(path.read_text().splitlines()) for path in (ROOT / "trainers/objectives").glob("[a-z]*.py")}
    assert {name: size for name, size in sizes.items() if size > MAX_OBJECTIVE_LINES} == {}
    assert len(sizes) > 10


@pytest.mark.parametrize("path", _files(), ids=_short)
def test_every_module_says_what_it_is(path: Path) -> None:
    first = (ast.get_docstring(_tree(path)) or "").partition("\n")[0]
    assert first.endswith((".", "]")), f"the docstring's first line must be one sentence, but is {first!r}"


def test_no_two_modules_say_the_same() -> None:
    firsts = Counter((ast.get_docstring(_tree(path)) or "").partition("\n")[0] for path in _files())
    assert [first for first, count in firsts.items() if count > 1] == []


@pytest.mark.parametrize("path", _files(), ids=_short)
def test_no_error_is_swallowed(path: Path) -> None:
    """No `except:` without a class, none for everything that does nothing, no `suppress` of everything."""
    everything = {"Exception", "BaseException"}
    for node in ast.walk(_tree(path)):
        if isinstance(node, ast.ExceptHandler):
            assert node.type is not None, f"bare except in line {node.lineno}"
            idle = all(isinstance(part, ast.Pass) for part in node.body)
            assert not (idle and _names(node.type) & everything), f"an error is swallowed in line {node.lineno}"
        if isinstance(node, ast.Call) and "suppress" in _names(node.func):
            assert not {name for given in node.args for name in _names(given)} & everything, f"line {node.lineno}"


def _names(node: ast.AST) -> set[str]:
    plain = {part.id for part in ast.walk(node) if isinstance(part, ast.Name)}
    return plain | {part.attr for part in ast.walk(node) if isinstance(part, ast.Attribute)}
