"""A PPO that ends the program at its first env step, to time the start.

`packages=[benchmarks] algo._target_=benchmarks.first_step.FirstStep` runs the usual
program up to its first environment step, prints the time and exits.
"""

import time
from typing import Any

from stable_baselines3 import PPO

MARK = "first training step at"


class FirstStep(PPO):
    """Exits after the first environment step of the first rollout."""

    def collect_rollouts(self, env: Any, *args: Any, **kwargs: Any) -> bool:
        del args, kwargs
        actions = self.policy.predict(self._last_obs)[0]
        env.step(actions)
        print(f"{MARK} {time.time():.6f}", flush=True)
        raise SystemExit(0)
