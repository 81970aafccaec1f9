"""Imports go one way, and nobody imports a concrete class."""

import ast
import re
from pathlib import Path

import pytest
from conftest import CONF, ROOT

# Each folder or loose module may import itself and what stands before it.
ORDER = """
    errors files seeds arrays statistics config gym_ids robots control scene rendering
    hardware randomization base_policies envs algos build sysid runs figures policies
    tracking evaluation training diagnosis viewer api sweeps report jobs cli __main__
""".split()  # noqa: SIM905
# Their parts are chosen by yaml and imported by nobody else.
CHOSEN = ("hardware", "randomization", "base_policies", "envs", "tracking")
PACKAGE = ROOT / "so101rl"
FILES = [path for path in PACKAGE.rglob("*.py") if path != PACKAGE / "__init__.py"]
YAML = "".join(path.read_text() for path in Path(CONF).rglob("*.yaml"))


def imported_modules(path: Path) -> set[str]:
    """Modules of ours that a file imports, without the package's name."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return {name[len("so101rl.") :] for name in found if name.startswith("so101rl.")}


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_imports_go_one_way(path):
    own = path.relative_to(PACKAGE).with_suffix("").parts[0]
    for module in imported_modules(path):
        room, *rest = module.split(".")
        assert room not in ORDER[ORDER.index(own) + 1 :], f"{module} stands above {own}"
        if room in CHOSEN:
            target = f"_target_: so101rl.{room}.{rest[0]}."
            assert target not in YAML or rest[0] == "base", f"{module}: a yaml's choice"
    assert len(path.read_text().splitlines()) <= 350


def test_main_is_short_and_the_map_has_every_room_in_the_order_of_imports():
    assert len((ROOT / "main.py").read_text().splitlines()) <= 40
    page = (ROOT / "docs/map.md").read_text().partition("## The rooms")[2]
    rows = re.findall(r"^\| (`.*?) \|", page, re.MULTILINE)
    rooms = [name.strip("/") for row in rows for name in re.findall(r"`(.*?)`", row)]
    assert rooms == ORDER
