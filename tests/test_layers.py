"""Imports go one way, and nobody imports a concrete class."""

import ast
from pathlib import Path

import pytest
from conftest import ROOT

# A file may import only what stands above it; a folder's files may import its own.
LAYERS = (
    "errors",
    "config",
    "explain",
    "overrides",
    "saved_run",
    "choices",
    "composition",
    "files",
    "provenance",
    "seeds",
    "threads",
    "arrays",
    "look",
    "robot",
    "actions",
    "scene",
    "kinematics",
    "workspace",
    "hardware",
    "randomization",
    "envs",
    "sliding",
    "base_policies",
    "residual",
    "vec_env",
    "algos",
    "build",
    "stop",
    "failures",
    "remedies",
    "lock",
    "logs",
    "episode_rows",
    "trajectories",
    "rundir",
    "statistics",
    "scores",
    "figures",
    "diagnosis",
    "gl",
    "render",
    "video",
    "notes",
    "measures",
    "prune",
    "runs",
    "tracking",
    "study",
    "compare",
    "checkpoint",
    "learner_state",
    "policies",
    "episodes",
    "footage",
    "evaluate",
    "callbacks",
    "watch",
    "warm_start",
    "train",
    "resume",
    "reproduce",
    "single_env",
    "registration",
    "composed",
    "export",
    "loaded",
    "friction",
    "viewing",
    "view",
    "doctor",
    "leash",
    "sweeps",
    "report",
    "hydra_plugins",
    "cli",
)
# Chosen by yaml: only their base module and shared helpers may be imported elsewhere.
CHOSEN = ("hardware", "randomization", "envs", "base_policies", "tracking")
PACKAGE = ROOT / "so101rl"
FILES = sorted(path for path in PACKAGE.rglob("*.py") if path.name != "__init__.py")


def imported_modules(path: Path) -> set[str]:
    """Return the modules of our package that a file imports, as dotted names."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            module = node.module or ""
            if node.level:
                pytest.fail(f"{path}: relative import")
            found |= {f"{module}.{alias.name}" for alias in node.names}
    return {name for name in found if name.split(".")[0] == "so101rl"}


def layer(path: Path) -> str:
    """Return the layer of a file: its own name, or its folder's."""
    return path.relative_to(PACKAGE).with_suffix("").parts[0]


def names(paths):
    return [str(path.relative_to(PACKAGE)) for path in paths]


@pytest.mark.parametrize("path", FILES, ids=names(FILES))
def test_imports_go_one_way(path):
    own = layer(path)
    assert own in LAYERS, f"say in tests/test_layers.py where {own} belongs"
    for module in imported_modules(path):
        parts = module.split(".")
        if len(parts) > 1 and parts[1] in LAYERS:
            assert LAYERS.index(parts[1]) <= LAYERS.index(own), f"{path}: {module}"


@pytest.mark.parametrize("path", FILES, ids=names(FILES))
def test_nobody_imports_a_concrete_class(path):
    for module in imported_modules(path):
        parts = module.split(".")
        if len(parts) < 3 or parts[1] not in CHOSEN:
            continue
        package, name = parts[1:3]
        file = PACKAGE / package / f"{name}.py"
        if name != "base" and file.is_file() and is_chosen(package, name):
            pytest.fail(f"{path.name} imports {module}: let the yaml choose it")


def is_chosen(package: str, name: str) -> bool:
    """Tell whether any yaml names this module as a `_target_`."""
    target = f"so101rl.{package}.{name}."
    return any(target in path.read_text() for path in (ROOT / "conf").rglob("*.yaml"))


@pytest.mark.parametrize("path", FILES, ids=names(FILES))
def test_a_file_fits_a_few_screens(path):
    assert len(path.read_text().splitlines()) <= 350


def test_main_is_short():
    assert len((ROOT / "main.py").read_text().splitlines()) <= 40
