"""The wheel holds all that the package reads; `make wheel-check` also uses it."""

import zipfile

import pytest
from conftest import ROOT
from hatchling.builders.wheel import WheelBuilder

FOLDERS = {"so101rl": "so101rl", "conf": "so101rl/conf", "assets": "so101rl/assets"}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """The wheel, and the names of the files in it."""
    folder = tmp_path_factory.mktemp("dist")
    (path,) = WheelBuilder(str(ROOT)).build(directory=folder, versions=["standard"])
    return zipfile.ZipFile(path)


@pytest.mark.parametrize("folder", FOLDERS)
def test_every_file_of_the_checkout_is_in_the_wheel(wheel, folder):
    files = [
        path.relative_to(ROOT / folder)
        for path in (ROOT / folder).rglob("*.*")
        if path.is_file() and "__pycache__" not in path.parts
    ]
    assert files
    assert {f"{FOLDERS[folder]}/{path}" for path in files} <= set(wheel.namelist())


def test_it_has_a_script_and_the_tested_versions(wheel):
    (name,) = (name for name in wheel.namelist() if name.endswith("entry_points.txt"))
    assert "so101rl = so101rl.__main__:main" in wheel.read(name).decode()
    pins = wheel.read("so101rl/constraints.txt").decode()
    assert pins == (ROOT / "constraints.txt").read_text()


def test_nothing_else_is_in_it(wheel):
    inside = {name.partition("/")[0] for name in wheel.namelist()}
    assert {name.partition("-")[0] for name in inside} == {"so101rl"}
