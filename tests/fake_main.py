"""`main.py` without a simulation: trainings of a second, some of which misbehave.

Everything else is real. `init_from` says how a run misbehaves, `bug` for example; with
`first-` in front only the first one does.
"""

import math
import os
import signal
import sys
import time
from pathlib import Path

import hydra
from hydra.core.hydra_config import HydraConfig

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from so101rl import cli  # noqa: E402
from so101rl.errors import DivergedError, So101Error  # noqa: E402
from so101rl.runs.run_dir import RunDir  # noqa: E402


@hydra.main(version_base="1.3", config_path=str(ROOT / "conf"), config_name="config")
def main(cfg):
    return cli.run_job(cfg)


def train(cfg):
    """Write what a training writes; resumed, only the rest of it."""
    how = misbehaviour(cfg.init_from or "")
    if how == "refuse":
        raise So101Error("something cannot work")
    if cfg.run is None:
        path, begin = Path(HydraConfig.get().runtime.output_dir), 0
        run = RunDir.create(path, cfg=cfg, command="fake")
    else:
        run = RunDir.open(cfg.run)
        with run.locked():
            begin = ([{"step": 0}, *run.metrics()])[-1]["step"]
            run.reopen(step=begin, metrics=run.log_size(), resume="exact")
    with run.lifecycle():
        every, total = cfg.evaluation.every, cfg.total_timesteps
        for step in range(begin + every, total + 1, every):
            time.sleep(0.02)
            run.log(step, {"eval/success_rate": success(cfg, step)})
            run.stop.now()
            if step >= total / 2 and how:
                MISBEHAVE[how]()
        scores = {
            "success_rate": success(cfg, total),
            "mean_residual_l2": cfg.residual.alpha**2,
            "mean_time_to_success_s": None,
            "wilson_95": [0.0, 1.0],
            "failures": {},
        }
        run.write_evaluation({"policies": {"residual": scores}})


def success(cfg, step):
    """Best at alpha 0.6 and penalty 1e-3; a little different from seed to seed."""
    peak = 0.9 - (cfg.residual.alpha - 0.6) ** 2
    peak -= 0.05 * abs(math.log10(max(cfg.residual.penalty, 1e-9)) + 3)
    noise = (cfg.seed * 2654435761 % 1000) / 1e5
    return max(0.0, (peak + noise) * (1 - math.exp(-4 * step / cfg.total_timesteps)))


def misbehaviour(how):
    if how.startswith("first-"):
        try:
            Path(f"fallen-{how}").touch(exist_ok=False)
        except FileExistsError:
            return ""
    return how.removeprefix("first-")


def fail(error):
    raise error


MISBEHAVE = {
    "bug": lambda: fail(ValueError("a bug")),
    "nan": lambda: fail(DivergedError("the reward", "nan")),
    "hang": lambda: time.sleep(1000),
    "kill": lambda: os.kill(os.getpid(), signal.SIGKILL),
    "exit": lambda: sys.exit(3),
    "gone": lambda: os._exit(4),
}

if __name__ == "__main__":
    cli._locate = lambda target: train
    sys.exit(cli.main(main))
