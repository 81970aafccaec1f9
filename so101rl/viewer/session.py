"""Runs a policy in one episode after the other, controlled by viewer commands."""

from typing import Any

import mujoco
import numpy as np

from so101rl.envs.wrappers.residual import ResidualEnv
from so101rl.errors import ConfigError
from so101rl.policies.policy import NoResidual, Policy
from so101rl.rendering.renderer import drawable
from so101rl.seeds import MAX_EPISODES, episode_seeds
from so101rl.viewer.controls import RESTARTS, Command, Controls

STATE = mujoco.mjtState.mjSTATE_INTEGRATION
END_SHOWN = 1.0  # [s] that the end of an episode is shown before the next begins


class Session:
    """The simulation of one env that a viewer shows, with forces from the mouse.

    Args:
        env: the task, a batch of one.
        policy: returns the residuals; None: the base policy alone.
        root: root of the seeds; the episodes are those of an evaluation with this root.
        episode: number of the first episode.
    """

    def __init__(
        self, env: ResidualEnv, policy: Policy | None, *, root: int, episode: int = 0
    ):
        if not 0 <= episode < MAX_EPISODES:
            expected = f"a number from 0 to {MAX_EPISODES - 1}"
            raise ConfigError("job.episode", got=episode, expected=expected)
        env.env.autoreset = False  # the end of an episode is shown for a while
        self._env, self._root = env, root
        self._policy: Policy = policy or NoResidual(len(env.env.control.names))
        # Its `state` (n, nstate) is MuJoCo's mjSTATE_INTEGRATION.
        self._world: Any = drawable(env.env.hardware)
        self.model = self._world.drawn_model()
        self.data = mujoco.MjData(self.model)
        # Ids of the bodies that a viewer can pull, by name.
        self._bodies = {name: self.model.body(name).id for name in env.env.scene.free}
        self.controls = Controls(
            episode=episode, residual=None if policy is None else True
        )
        self._begin()

    @property
    def seed(self) -> int:
        """Seed of the episode that is shown."""
        return episode_seeds(self._root, "report", 1, self.controls.episode)[0]

    @property
    def period(self) -> float:
        """Time between two control steps at the chosen speed [s]."""
        return 1 / (self._env.env.control_hz * self.controls.speed)

    def do(self, command: Command) -> None:
        """Carry out a command."""
        self.controls = self.controls.after(command)
        if command in RESTARTS:
            self._begin()
        if command is Command.STEP:
            self._step()

    def advance(self) -> None:
        """Do a control step, or after an end wait and then begin the next episode."""
        if self.controls.paused:
            return
        if self._outcome is None:
            self._step()
            return
        self._steps_since_end += 1
        if self._steps_since_end >= END_SHOWN * self._env.env.control_hz:
            self.do(Command.NEXT)

    def draw(self) -> None:
        """Copy the current state into `data`; set the viewer's forces to zero."""
        mujoco.mj_setState(self.model, self.data, self._world.state[0], STATE)
        mujoco.mj_forward(self.model, self.data)
        self.data.xfrc_applied[:] = 0

    def lines(self) -> list[tuple[str, str]]:
        """Names and values that describe the episode."""
        task, controls = self._env.env, self.controls
        base = type(self._env.base_policy).__name__.lower()
        residual = {None: "", True: " + residual", False: ", residual off"}
        speed = "paused" if controls.paused else f"{controls.speed:g} x real time"
        lines = [
            ("episode", f"{controls.episode}, seed {self.seed}"),
            ("policy", base + residual[controls.residual]),
            ("step", f"{task.elapsed[0]} of {task.max_episode_steps}"),
            ("outcome", self._outcome or "under way"),
            ("speed", speed),
        ]
        values = task.metrics()
        for number in task.numbers:
            unit = f" [{number.unit}]" if number.unit else ""
            value = number.factor * values[number.name][0]
            lines.append((f"{number.title}{unit}", f"{value:.1f}"))
        for name, wrench in self._pulled.items():
            if wrench.any():
                force = 1e3 * np.linalg.norm(wrench[:2])
                lines.append((f"pulled {name} [mN]", f"{force:.1f}"))
        return lines

    def _begin(self) -> None:
        self._policy.reset()
        self._obs, _ = self._env.reset(seed=[self.seed])
        self._outcome: str | None = None
        self._steps_since_end = 0
        self._pulled = {name: np.zeros(6) for name in self._bodies}
        self.draw()

    def _step(self) -> None:
        """Do one control step, with the forces that a viewer put into `data`."""
        if self._outcome is not None:
            return
        for name, body in self._bodies.items():
            self._pulled[name] = self.data.xfrc_applied[body].copy()
            self._env.env.hardware.objects.pull(name, self._pulled[name][None])
        # Also while it is off, because a recurrent policy needs every observation.
        residual = self._policy.act(self._obs)
        if self.controls.residual is False:
            residual = np.zeros_like(residual)
        self._obs, _, solved, over, info = self._env.step(residual)
        if solved[0] or over[0]:
            self._outcome = (
                "solved" if info["is_success"][0] else str(info["failure"][0])
            )
