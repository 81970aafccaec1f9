"""Run directories without the training: policies of random numbers."""

import torch

from so101rl.build import build_algo, build_env
from so101rl.envs.wrappers.sb3_vec_env import SB3VecEnv
from so101rl.policies import checkpoint
from so101rl.runs.run_dir import RunDir

GROUPS = {"env": "paper_push", "env/observation": "markov", "base_policy": "jacobian"}


def learner(cfg):
    """A learner at its start."""
    return build_algo(cfg, SB3VecEnv(build_env(cfg, 2), [0, 1]))


def untrained(path, cfg):
    """Make a finished run of this config; returns it and the learner that it holds."""
    model = learner(cfg)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for weight in model.policy.state_dict().values():
            if weight.is_floating_point():  # running variances, which are positive, too
                weight.uniform_(0, 0.5, generator=generator)
    for weight in model.policy.parameters():
        weight.data -= 0.25
    run = RunDir.create(path, cfg=cfg, command="main.py", groups=GROUPS)
    checkpoint.save(model, run.checkpoints / "best", step=7)
    run.finish("finished")
    return run, model
