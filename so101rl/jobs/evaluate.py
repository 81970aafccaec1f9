"""`job=evaluate`, and what every training ends with: policies on held-out episodes."""

import shlex
import sys
from itertools import count
from pathlib import Path

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from so101rl.evaluation.evaluate import evaluate_policies, evaluation_env
from so101rl.policies.load import load_policy
from so101rl.policies.policy import NoResidual, Policy
from so101rl.runs.run_dir import RunDir
from so101rl.tracking import make_mirror


def evaluate(cfg: DictConfig) -> float:
    """`job=evaluate`: a run, a bare base policy, or a foreign SB3 zip."""
    policies: dict[str, Policy] = {"base": NoResidual()}
    step = 0
    call = HydraConfig.get()
    if cfg.run is not None or cfg.checkpoint is not None:
        policies["residual"], step = load_policy(cfg)
    path = Path(call.runtime.output_dir)
    if cfg.run is not None:
        path = _next_evaluation(Path(cfg.run))
    env = evaluation_env(cfg)
    mirror = make_mirror(cfg.tracking)
    run = RunDir.create(
        path, cfg=cfg, command=shlex.join(sys.argv), groups=call.runtime.choices
    )
    with mirror.follow(run), run.lifecycle():
        success = evaluate_policies(cfg, run, env, policies, step=step)
    print(f"results: {run.path}")
    return success


def _next_evaluation(run: Path) -> Path:
    """`evaluations/1`, `2`, ...: the run's own results are never overwritten."""
    for number in count(1):
        path = run / "evaluations" / str(number)
        try:
            path.mkdir(parents=True)
        except FileExistsError:
            continue
        return path
    raise AssertionError("there is always a next number")
