"""The wheel holds all that the package reads; `make wheel-check` also uses it."""

import zipfile

from conftest import ROOT
from hatchling.builders.wheel import WheelBuilder

FOLDERS = {"so101rl": "so101rl", "conf": "so101rl/conf", "assets": "so101rl/assets"}


def test_the_wheel_has_all_files_the_script_the_tested_versions_and_no_more(tmp_path):
    (path,) = WheelBuilder(str(ROOT)).build(directory=tmp_path, versions=["standard"])
    wheel = zipfile.ZipFile(path)
    inside = set(wheel.namelist())
    for folder, place in FOLDERS.items():
        files = [
            f"{place}/{path.relative_to(ROOT / folder)}"
            for path in (ROOT / folder).rglob("*.*")
            if path.is_file() and "__pycache__" not in path.parts
        ]
        assert files and set(files) <= inside
    (name,) = (name for name in inside if name.endswith("entry_points.txt"))
    assert "so101rl = so101rl.__main__:main" in wheel.read(name).decode()
    pins = wheel.read("so101rl/constraints.txt").decode()
    assert pins == (ROOT / "constraints.txt").read_text()
    assert {name.partition("/")[0].partition("-")[0] for name in inside} == {"so101rl"}
