"""`job=doctor`: checks this machine and names the command that fixes each problem."""

import glob
import importlib.metadata
import os
import platform
import re
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from omegaconf import DictConfig, OmegaConf

from so101rl.config.threads import n_threads
from so101rl.files import shipped
from so101rl.runs.provenance import version_of

INSTALL = f"make setup   (or: pip install so101rl -c {shipped('constraints.txt')})"
GL_PACKAGES = "apt-get install -y libegl1 libegl-mesa0 libgl1-mesa-dri"
SERIAL_PORTS = ("ttyACM*", "ttyUSB*", "cu.usbmodem*", "cu.usbserial*")  # in /dev
GIB = 2**30
# Draws one sphere as runs do; the image must have more than one colour.
_RENDER = """
import mujoco, numpy as np
from so101rl.errors import So101Error
from so101rl.rendering.gl import open_context
xml = '<mujoco><worldbody><light pos="0 0 2"/><geom size=".2"/></worldbody></mujoco>'
model = mujoco.MjModel.from_xml_string(xml)
data = mujoco.MjData(model)
mujoco.mj_forward(model, data)
try:
    gl, context = open_context(model, 64, 48)
except So101Error as error:
    raise SystemExit(str(error).splitlines()[0])
scene, camera = mujoco.MjvScene(model, 9), mujoco.MjvCamera()
mujoco.mjv_defaultFreeCamera(model, camera)
parts, option = mujoco.mjtCatBit.mjCAT_ALL, mujoco.MjvOption()
mujoco.mjv_updateScene(model, data, option, None, camera, parts, scene)
area, image = mujoco.MjrRect(0, 0, 64, 48), np.zeros((48, 64, 3), np.uint8)
mujoco.mjr_render(area, scene, context)
mujoco.mjr_readPixels(image, None, area, context)
assert np.ptp(image) > 0, "the picture is empty"
print(type(gl).__module__.rpartition(".")[2])
"""

State = Literal["ok", "info", "warn", "FAIL"]


@dataclass(frozen=True)
class Check:
    """One line of the table: what was checked, what was found, and how to fix it."""

    name: str
    state: State  # FAIL makes the job end with exit code 1; warn and info do not
    found: str
    fix: str = ""  # a command or a sentence


def doctor(cfg: DictConfig) -> None:
    """Print the table of checks; of the config only `tracking` and `n_threads` matter.

    Raises:
        SystemExit: With code 1 if something required is missing.
    """
    failed = 0
    for check in _checks(cfg):
        print(f"{check.state:>4}  {check.name:<16} {check.found}", flush=True)
        if check.fix and check.state in ("warn", "FAIL"):
            print(f"{'':>6}fix: {check.fix}", flush=True)
        failed += check.state == "FAIL"
    print(f"\n{failed} required check(s) failed." if failed else "\nReady.")
    if failed:
        raise SystemExit(1)


def _checks(cfg: DictConfig) -> Iterator[Check]:
    """Yield the checks in the table's order; a check runs when its line is printed."""
    yield check_python()
    yield from check_packages()
    yield check_rendering()
    yield check_threads(OmegaConf.select(cfg, "n_threads"))
    yield check_disk(Path.cwd())
    yield check_outputs(Path.cwd())
    yield check_tracking(OmegaConf.select(cfg, "tracking.uri"))
    yield check_serial()


def check_python() -> Check:
    """Report the interpreter; pip has already rejected a version that is too old."""
    found = f"{platform.python_version()} on {platform.system()} {platform.machine()}"
    return Check("python", "ok", found)


def check_packages() -> Iterator[Check]:
    """Compare what is installed with the pins of constraints.txt."""
    pins = _pins(shipped("constraints.txt"))
    direct = [_normalized(name) for name in _dependencies()]
    installed = {name: version_of(name) for name in direct}
    missing = [name for name, version in installed.items() if version is None]
    other = [
        f"{name} {version} (pin {pins[name]})"
        for name, version in installed.items()
        if version and name in pins and version.partition("+")[0] != pins[name]
    ]
    if missing:
        yield Check("packages", "FAIL", f"missing: {', '.join(missing)}", INSTALL)
    if other:
        yield Check("packages", "warn", "; ".join(other), INSTALL)
    if not missing and not other:
        yield Check("packages", "ok", f"{len(direct)} direct, all at their pins")


def check_rendering() -> Check:
    """Draw a tiny scene in another process, because a broken driver may crash it."""
    try:
        done = subprocess.run(
            [sys.executable, "-c", _RENDER],
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return Check("rendering", "FAIL", "no picture in 120 s", GL_PACKAGES)
    if done.returncode == 0:
        found = f"off screen, GL backend {done.stdout.strip()}"
        return Check("rendering", "ok", found)
    lines = [line for line in done.stderr.splitlines() if line and line[0] != " "]
    reason = lines[-1] if lines else f"exit code {done.returncode}"
    fixes = [GL_PACKAGES] if sys.platform == "linux" else []
    if "MUJOCO_GL" in os.environ or not fixes:
        fixes.insert(0, "unset MUJOCO_GL")
    fix = ", or ".join(fixes)
    return Check("rendering", "FAIL", reason, fix)


def check_threads(wanted: int | None) -> Check:
    """Compare the cores with the threads that torch and the simulation would use."""
    cores = n_threads(None)
    torch_threads = _torch_threads()
    found = f"{cores} core(s); torch would use {torch_threads}"
    if n_threads(wanted) > cores:
        fix = f"n_threads=null (all cores) or n_threads={cores}"
        return Check("threads", "warn", f"{found}; n_threads={wanted}", fix)
    return Check("threads", "ok", found)


def check_disk(folder: Path) -> Check:
    """Check the free space where runs are written."""
    free = shutil.disk_usage(folder).free / GIB
    found = f"{free:.1f} GiB free in {folder}"
    if free < 1:
        return Check("disk", "FAIL", found, "free 1 GiB, or work in another folder")
    if free < 5:
        fix = "python main.py job=runs prune=30d (asks first)"
        return Check("disk", "warn", found, fix)
    return Check("disk", "ok", found)


def check_outputs(folder: Path) -> Check:
    """Try to write where runs are written."""
    target = folder / "outputs" if (folder / "outputs").is_dir() else folder
    try:
        with tempfile.TemporaryFile(dir=target) as file:
            file.write(b"x")
    except OSError as error:
        fix = f"chmod u+w {target}, or hydra.run.dir=SOMEWHERE_ELSE"
        return Check("outputs", "FAIL", f"{target}: {error.strerror}", fix)
    return Check("outputs", "ok", f"{target} can be written to")


def check_tracking(uri: str | None) -> Check:
    """Check the tracking store; a run does not need it."""
    if not uri:
        return Check("tracking", "info", "no store configured (run directory only)")
    if uri.startswith("sqlite:///"):
        return _check_sqlite(Path(uri.removeprefix("sqlite:///")))
    if uri.startswith(("http://", "https://")):
        try:
            urllib.request.urlopen(f"{uri.rstrip('/')}/health", timeout=3).close()
        except (urllib.error.URLError, OSError) as error:
            reason = getattr(error, "reason", error)
            fix = "start the server, or tracking=none; runs are written to disk anyway"
            return Check("tracking", "warn", f"{uri}: {reason}", fix)
        return Check("tracking", "ok", f"{uri} answers")
    return Check("tracking", "info", f"{uri} (not checked)")


def check_serial() -> Check:
    """List serial ports; only the real arm needs one."""
    found = [glob.glob(f"/dev/{pattern}") for pattern in SERIAL_PORTS]
    ports = sorted(port for ports in found for port in ports)
    if not ports:
        return Check("serial port", "info", "none found (only the real arm needs one)")
    closed = [port for port in ports if not os.access(port, os.R_OK | os.W_OK)]
    if closed:
        fix = "sudo usermod -aG dialout $USER, then log in again"
        return Check("serial port", "warn", f"no permission to open {closed[0]}", fix)
    return Check("serial port", "info", ", ".join(ports))


def _check_sqlite(path: Path) -> Check:
    """Open the local MLflow store read-only; it must have MLflow's version table."""
    if not path.exists():
        return Check("tracking", "info", f"{path}: the first run will create it")
    address = f"{path.resolve().as_uri()}?mode=ro"
    try:
        with closing(sqlite3.connect(address, uri=True)) as db:
            db.execute("SELECT version_num FROM alembic_version").fetchone()
    except sqlite3.Error as error:
        fix = f"move {path} away; the next run creates a new one"
        return Check("tracking", "warn", f"{path}: {error}", fix)
    return Check("tracking", "ok", f"{path} is an initialised store")


def _pins(path: Path) -> dict[str, str]:
    """Read `name==version` lines."""
    found = re.findall(r"^([\w.-]+)==([^\s;+]+)", path.read_text(), re.MULTILINE)
    return {_normalized(name): version for name, version in found}


def _dependencies() -> list[str]:
    """Read the names of the direct dependencies, without those of extras."""
    lines = importlib.metadata.requires("so101rl") or []
    return [re.split(r"[^\w.-]", line)[0] for line in lines if "extra ==" not in line]


def _normalized(name: str) -> str:
    """Return a package name in the form that package indexes compare."""
    return re.sub(r"[-_.]+", "-", name).lower()


def _torch_threads() -> str:
    """Return torch's number of threads, or a text if torch is missing."""
    try:
        import torch
    except ImportError:
        return "none (torch is missing)"
    return str(torch.get_num_threads())
