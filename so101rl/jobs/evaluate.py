"""`job=evaluate`: policies on held-out episodes."""

import contextlib
import shlex
import sys
from pathlib import Path

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from so101rl.build import build_env
from so101rl.envs.task import describe
from so101rl.evaluation.evaluate import (
    check_conditions,
    check_graphics,
    evaluate_policies,
    held_out_size,
)
from so101rl.evaluation.referee import make_referee
from so101rl.files import next_folder
from so101rl.policies.load import load_policy
from so101rl.policies.policy import NoResidual, Policy
from so101rl.runs.run_dir import RunDir
from so101rl.tracking import make_mirror


def evaluate(cfg: DictConfig) -> float:
    """Evaluate a run, a checkpoint or a bare base policy.

    Returns:
        The success rate of the residual, or of the base policy if there is no residual.
    """
    runtime = HydraConfig.get().runtime
    check_conditions(cfg)
    env, step = build_env(cfg, held_out_size(cfg)), 0
    with contextlib.closing(env):
        policies: dict[str, Policy] = {"base": NoResidual(len(env.env.control.names))}
        if cfg.run is not None or cfg.checkpoint is not None:
            policies["residual"], step = load_policy(cfg, env)
        path = Path(runtime.output_dir)
        if cfg.run is not None:
            path = next_folder(Path(cfg.run) / "evaluations")  # keeps the run's own
        check_graphics(cfg, env)
        referee = make_referee(cfg.job.referee, env.env.failures)
        mirror = make_mirror(cfg.tracking)
        run = RunDir.create(
            path,
            cfg=cfg,
            command=shlex.join(sys.argv),
            groups=runtime.choices,
            base_policy=env.base_policy.identity(),
        )
        with mirror.follow(run), run.lifecycle():
            run.write_task(describe(env.env))
            success = evaluate_policies(
                cfg, run, env, policies, step=step, referee=referee
            )
    print(f"results: {run.path}")
    return success
