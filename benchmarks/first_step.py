"""A PPO that stops where training begins, to time what comes before.

`python main.py algo._target_=benchmarks.first_step.FirstStep` runs the usual program up
to its first environment step, prints when that was and leaves.
"""

import time
from typing import Any

from stable_baselines3 import PPO

MARK = "first training step at"


class FirstStep(PPO):
    """Leaves the program after the first environment step of the first rollout."""

    def collect_rollouts(self, env: Any, *args: Any, **kwargs: Any) -> bool:
        del args, kwargs
        actions = self.policy.predict(self._last_obs)[0]
        env.step(actions)
        print(f"{MARK} {time.time():.6f}", flush=True)
        raise SystemExit(0)
