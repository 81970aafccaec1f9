"""What an installed wheel can do, from an empty folder: called by `make wheel-check`.

The Python that runs this has nothing but the wheel and its dependencies.
"""

import subprocess
import sys
from pathlib import Path

import gymnasium as gym
import numpy as np

import so101rl

SHORT = (
    *("tracking=none", "n_envs=4", "total_timesteps=128", "log_every=32"),
    *("checkpoint_every=64", "env.max_episode_steps=20", "evaluation.every=64"),
    *("evaluation.n_episodes=3", "evaluation.select_episodes=2", "algo.n_steps=8"),
    *("evaluation.video=false", "algo.batch_size=16", "n_threads=1"),
)
SCRIPT = str(Path(sys.executable).with_name("so101rl"))
MODULE = (sys.executable, "-m", "so101rl")


def say(*command: str) -> str:
    """Run a command that has to succeed; returns what it prints."""
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{command}:\n{done.stdout}\n{done.stderr}"
    return done.stdout


def main() -> None:
    """Use each of the doors once."""
    package = Path(so101rl.__file__).parent
    assert "site-packages" in package.parts, package
    assert (package / "conf/config.yaml").is_file()

    env = gym.make("so101rl/PaperPush-v0")
    obs, _ = env.reset(seed=0)
    assert env.observation_space.contains(obs)
    envs = gym.make_vec("so101rl/PaperPush-v0", num_envs=3, base_policy="jacobian")
    assert len(envs.reset(seed=0)[0]) == 3

    assert "base_policy" in say(SCRIPT, "--help")
    say(*MODULE, *SHORT, "hydra.run.dir=runs/one")
    policy = so101rl.load("runs/one")
    assert np.isfinite(policy.act(policy.make_env(n=2).reset(seed=0)[0])).all()
    assert "finished" in say(SCRIPT, "job=runs") or Path("runs/one").is_dir()
    say(SCRIPT, "job=evaluate", "run=runs/one", "evaluation.video=false")
    say(SCRIPT, "-m", "seed=0,1", *SHORT, "hydra.sweep.dir=multirun/two")
    found = sorted(path.parent.name for path in Path("multirun/two").rglob("run.json"))
    assert len(found) == 2, found
    say(SCRIPT, "job=doctor")
    print(f"the wheel works: {package}")


if __name__ == "__main__":
    main()
