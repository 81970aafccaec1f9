"""Memory of one more environment. Linux only: it reads /proc.

    python benchmarks/memory.py batch 64        bytes that 64 environments of ours take
    python benchmarks/memory.py subprocess 8    bytes of 8 processes of SubprocVecEnv

Each probe is a fresh process, because a used one has free memory of its own. Ours is
measured by its resident set; processes share pages, so theirs are measured by their
proportional set (PSS), in which a page counts once.
"""

import gc
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

ROOT = Path(__file__).resolve().parents[1]
if __name__ == "__main__":
    sys.path[0] = str(ROOT)

if TYPE_CHECKING:
    import gymnasium as gym

    from benchmarks.measure import Effort, Result

PROC = Path("/proc")
WIDTHS = (64, 1024, 4096)
PROCESSES = (2, 8)
STEPS = 10  # control steps before the memory is read, with autoresets in them
KIB = 1024


def measure(effort: "Effort") -> "Result | str":
    """Memory over the number of environments and over the number of processes."""
    from benchmarks.measure import Result, Row, interleave, ratios

    if not available():
        return "needs Linux: it reads /proc/*/smaps_rollup"
    widths = (64, 1024) if effort.quick else WIDTHS
    processes = (1, 2) if effort.quick else PROCESSES
    counts = {"batch": widths, "subprocess": processes, "async": processes}
    cases = {
        f"{kind} {n}": partial(_probed, kind, n)
        for kind, numbers in counts.items()
        for n in numbers
    }
    values = interleave(cases, 1 if effort.quick else effort.repeats)

    def slope(kind: str, few: int, many: int) -> list[float]:
        pairs = zip(values[f"{kind} {few}"], values[f"{kind} {many}"], strict=True)
        return [(b - a) / (many - few) / KIB for a, b in pairs]

    few, many = processes
    batched = {pair: slope("batch", *pair) for pair in pairwise(widths)}
    in_subprocess, in_async = (slope(k, few, many) for k in ("subprocess", "async"))
    first = batched[widths[:2]]
    rows = [
        Row(f"one more environment in our batch, {a:,} to {b:,}", "KiB", found)
        for (a, b), found in batched.items()
    ]
    span = f"{few} to {many}"
    rows += [
        Row(f"one more process of SubprocVecEnv, {span}", "KiB", in_subprocess),
        Row(f"one more process of AsyncVectorEnv, forked, {span}", "KiB", in_async),
        Row(
            "a process of SubprocVecEnv / an environment of ours",
            "x",
            ratios(in_subprocess, first),
        ),
        Row(
            "a forked process of AsyncVectorEnv / an environment of ours",
            "x",
            ratios(in_async, first),
        ),
    ]
    extra = {
        "bytes": values,
        "batch": "resident set of the process after some steps",
        "subprocess": "PSS of workers and server; start method forkserver, as is SB3's "
        "default, which imports torch in every worker",
        "async": "PSS of the workers; start method fork, which shares what it can",
    }
    return Result("memory", "Memory of one more environment", rows, extra)


def available() -> bool:
    """Whether this system has the files that are read here."""
    return (PROC / "self" / "smaps_rollup").exists()


def resident() -> int:
    """Resident set of this process [bytes]."""
    return _rollup(PROC / "self", "Rss")


def descendants_pss() -> int:
    """Proportional set of all descendants of this process [bytes]."""
    return sum(_rollup(folder, "Pss") for folder in _descendants(_own_id()))


def _rollup(folder: Path, field: str) -> int:
    for line in (folder / "smaps_rollup").read_text().splitlines():
        name, _, rest = line.partition(":")
        if name == field:
            return KIB * int(rest.split()[0])
    raise ValueError(f"{folder} has no {field}")


def _own_id() -> int:
    return int((PROC / "self").resolve().name)


def _descendants(root: int) -> list[Path]:
    parents = {}
    for folder in PROC.iterdir():
        if folder.name.isdigit():
            try:
                stat = (folder / "stat").read_text()
            except OSError:
                continue  # it has just ended
            # "id (name) state parent ...", where the name may contain anything
            parents[int(folder.name)] = int(stat.rpartition(")")[2].split()[1])
    found = [root]
    for process in found:  # grows while it is walked
        found += [child for child, parent in parents.items() if parent == process]
    return [PROC / str(process) for process in found[1:]]


def _probed(kind: str, n: int) -> float:
    command = [sys.executable, __file__, kind, str(n)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)} failed:\n{done.stderr}")
    return float(done.stdout.split()[-1])


def _batch(n: int) -> int:
    import numpy as np

    from so101rl.build import build_env
    from so101rl.config.compose import compose
    from so101rl.envs.wrappers.sb3_vec_env import SB3VecEnv
    from so101rl.seeds import episode_seeds

    cfg = compose(["tracking=none", f"env.max_episode_steps={STEPS // 2}"])
    env = SB3VecEnv(build_env(cfg, n), episode_seeds(0, "train", n))
    env.reset()
    action = np.zeros((n, 6), np.float32)
    for _ in range(STEPS):
        env.step(action)
    gc.collect()
    return resident()


def _subprocess(n: int) -> int:
    import numpy as np
    from stable_baselines3.common.vec_env import SubprocVecEnv

    env = SubprocVecEnv([partial(_rival, True)] * n)
    env.reset()
    for _ in range(STEPS):
        env.step(np.zeros((n, 6), np.float32))
    found = descendants_pss()
    env.close()
    return found


def _async(n: int) -> int:
    import numpy as np
    from gymnasium.vector import AsyncVectorEnv

    # Forked before anything has made threads.
    env = AsyncVectorEnv([partial(_rival, False)] * n, context="fork")
    env.reset(seed=0)
    for _ in range(STEPS):
        env.step(np.zeros((n, 6), np.float32))
    found = descendants_pss()
    env.close()
    return found


def _rival(monitored: bool) -> "gym.Env[Any, Any]":
    """A scalar environment; imports only what its process needs."""
    from benchmarks.rival import Rival
    from so101rl.config.compose import compose

    env = Rival(compose(["tracking=none"]))
    if not monitored:
        return env
    from stable_baselines3.common.monitor import Monitor

    return Monitor(env)


PROBES: dict[str, Callable[[int], int]] = {
    "batch": _batch,
    "subprocess": _subprocess,
    "async": _async,
}

if __name__ == "__main__":
    print(PROBES[sys.argv[1]](int(sys.argv[2])))
