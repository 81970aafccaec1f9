"""`job=evaluate`: policies on held-out episodes."""

import shlex
import sys
from pathlib import Path

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from so101rl.evaluation.evaluate import evaluate_policies, evaluation_env
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
    policies: dict[str, Policy] = {"base": NoResidual()}
    step = 0
    runtime = HydraConfig.get().runtime
    if cfg.run is not None or cfg.checkpoint is not None:
        policies["residual"], step = load_policy(cfg)
    path = Path(runtime.output_dir)
    if cfg.run is not None:
        path = next_folder(Path(cfg.run) / "evaluations")  # keeps the run's own results
    env = evaluation_env(cfg)
    mirror = make_mirror(cfg.tracking)
    run = RunDir.create(
        path, cfg=cfg, command=shlex.join(sys.argv), groups=runtime.choices
    )
    with mirror.follow(run), run.lifecycle():
        success = evaluate_policies(cfg, run, env, policies, step=step)
    print(f"results: {run.path}")
    return success
