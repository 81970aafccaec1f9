"""Runs and environments for Python: `so101rl.load`, `gymnasium.make`."""

import os
import secrets
from collections.abc import Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from gymnasium.spaces import Dict, Space
from omegaconf import DictConfig, OmegaConf

from so101rl import gym_ids  # noqa: F401  registers Gymnasium's ids
from so101rl.build import build_env
from so101rl.config.compose import compose
from so101rl.config.errors import did_you_mean, nearest
from so101rl.config.from_run import find_run
from so101rl.config.messages import user_errors
from so101rl.envs.observations import LearnerObs
from so101rl.envs.wrappers.residual import Alpha, ResidualEnv
from so101rl.envs.wrappers.single_env import SingleEnv
from so101rl.errors import DivergedError, So101Error
from so101rl.evaluation.rollout import episode_rows, run_episodes
from so101rl.policies.export import export_policy
from so101rl.policies.load import load_policy
from so101rl.runs.run_dir import EPISODES, RunDir
from so101rl.runs.trajectories import TRAJECTORIES, Trajectory, read_trajectories

if TYPE_CHECKING:
    import pandas as pd

CHECKPOINTS = "checkpoints"


class LoadedRunError(So101Error):
    """A run lacks the requested file, or an observation has the wrong shape."""


class LoadedRun:
    """A run's policy and results; see `so101rl.load`.

    Attributes:
        path: The run directory.
        info: The content of `run.json`.
        config: The run's resolved config.
        step: Env step of the policy's checkpoint.
        alpha: Weight of the residual (a,) at that step.
    """

    def __init__(
        self,
        run: str | os.PathLike[str],
        *,
        checkpoint: str = "best",
        packages: Sequence[str] = (),
    ):
        self._packages = f"packages=[{','.join(packages)}]"
        self.path = find_run(os.fspath(run)).absolute()
        opened = RunDir.open(self.path)
        self.info, self.config = opened.info, opened.config()
        self._checkpoint = checkpoint
        _check_checkpoint(self.path / CHECKPOINTS, checkpoint)
        cfg = self._compose()
        with user_errors(), closing(build_env(cfg, 1)) as env:
            self._policy, self.step = load_policy(cfg, env)
        self._space = env.single_observation_space
        n_actions = len(env.env.control.names)
        alpha: Any = OmegaConf.to_container(cfg.residual, resolve=True)
        self.alpha = Alpha(alpha["alpha"], n_actions).at(self.step)

    def act(self, obs: LearnerObs) -> np.ndarray:
        """Return residuals in [-1, 1], without exploration.

        A recurrent policy has a state per environment, kept from call to call until
        `reset`.

        Args:
            obs: Observations (n, d), one row per environment, or a single one (d,). Of
                a policy that reads several arrays, a dict of them.

        Returns:
            Residuals (n, a), or (a,) for a single observation.

        Raises:
            LoadedRunError: If `obs` has another shape.
            DivergedError: If a number of `obs` is not finite.
        """
        batch, single = self._batch_of(obs)
        residual = self._policy.act(batch)
        return residual[0] if single else residual

    def _batch_of(self, obs: LearnerObs) -> tuple[LearnerObs, bool]:
        """Return checked observations with a first axis, and whether it was added."""
        if not isinstance(self._space, Dict):
            return self._checked("obs", obs, self._space)
        spaces = self._space.spaces
        if not isinstance(obs, Mapping) or set(obs) != set(spaces):
            raise LoadedRunError(f"obs: expected a dict of {', '.join(spaces)}")
        parts = {n: self._checked(f"obs {n}", obs[n], spaces[n]) for n in spaces}
        single = {one for _, one in parts.values()}
        if len(single) > 1:
            raise LoadedRunError("obs: expected arrays that all have a first axis")
        return {name: array for name, (array, _) in parts.items()}, single.pop()

    def _checked(self, name: str, obs: Any, space: Space) -> tuple[np.ndarray, bool]:
        array, shape = np.asarray(obs, space.dtype), space.shape
        assert shape is not None  # of a Box
        single = array.ndim == len(shape)
        if (
            array.shape[array.ndim - len(shape) :] != shape
            or array.ndim > len(shape) + 1
        ):
            expected = ", ".join(map(str, shape))
            raise LoadedRunError(
                f"{name} has the shape {array.shape}: expected ({expected},) "
                f"or (n, {expected}), made of {', '.join(self._columns())}"
            )
        batch = array[None] if single else array
        if not np.isfinite(batch).all():
            row = int(np.argwhere(~np.isfinite(batch))[0, 0])
            raise DivergedError(name, str(batch[row]), env=row)
        return batch, single

    def reset(self, ids: np.ndarray | None = None) -> None:
        """Reset a recurrent policy's state for environments `ids` (k,), or for all."""
        self._policy.reset(ids)

    def make_env(self, n: int = 1, *, overrides: Sequence[str] = ()) -> ResidualEnv:
        """Build the run's own environment, a Gymnasium vector environment.

        It has the run's base policy, and alpha has its value at `step`. When an episode
        ends, its environment starts the next one automatically.

        Args:
            n: Number of environments.
            overrides: Changes as on the command line, e.g. `randomization=hard`.
        """
        env = _build_seeded(self._compose(*overrides), n)
        env.progress(self.step)
        return env

    def play(
        self, seeds: Sequence[int], *, overrides: Sequence[str] = ()
    ) -> "pd.DataFrame":
        """Run one episode per seed, all in parallel.

        Args:
            seeds: Seeds of the episodes.
            overrides: See `make_env`.

        Returns:
            A row per episode, as in `episodes`.
        """
        env = self.make_env(len(seeds), overrides=overrides)
        played = run_episodes(env, self, [int(seed) for seed in seeds])
        env.close()
        return _table(episode_rows("residual", played, env.env.control_hz))

    @property
    def episodes(self) -> "pd.DataFrame":
        """The held-out episodes of base and residual: `episodes.csv`."""
        self._file(EPISODES)  # raises if there are none
        return _table(RunDir.open(self.path).episodes())

    @property
    def metrics(self) -> "pd.DataFrame":
        """`metrics.jsonl`: a row per logged env step, a column per name."""
        import pandas as pd

        lines = RunDir.open(self.path).metrics()
        return pd.DataFrame(lines, columns=_names(lines)).groupby("step").last()

    @property
    def evaluation(self) -> dict[str, Any]:
        """The scores of base and residual: `evaluation.json`."""
        found = RunDir.open(self.path).evaluation()
        if found is None:
            raise self._not_evaluated()
        return found

    @property
    def trajectories(self) -> dict[str, list[Trajectory]]:
        """Every step of the held-out episodes by policy, in the order of `episodes`."""
        return read_trajectories(self._file(TRAJECTORIES))

    def export(self) -> Path:
        """Write residual and base policy as one file, as `job=export` does.

        Returns:
            The TorchScript file; `policy.json` beside it describes its input.
        """
        with user_errors():
            return export_policy(self._compose(job="export"))

    def __repr__(self) -> str:
        groups = self.info["groups"]
        chosen = ", ".join(f"{key}={groups[key]}" for key in ("env", "base_policy"))
        alpha = np.unique(self.alpha).tolist()
        shown = alpha[0] if len(alpha) == 1 else self.alpha.tolist()
        return (
            f"{type(self).__name__} {self.info['name']} ({self.info['status']}): "
            f"{chosen}, algo={groups.get('algo')}, alpha {shown}, "
            f"{self._checkpoint} policy, of env step {self.step}\n{self.path}"
        )

    def _compose(self, *overrides: str, job: str = "evaluate") -> DictConfig:
        """Compose the run's config with changes."""
        path = str(self.path).replace("\\", "\\\\").replace("'", "\\'")
        words = [f"job={job}", f"run='{path}'", self._packages]
        cfg = compose([*words, *overrides])
        cfg.checkpoint = str(self.path / CHECKPOINTS / self._checkpoint)
        return cfg

    def _columns(self) -> list[str]:
        """Names of the arrays in an observation, in their order."""
        base = ["base_action"] * self.config.residual.observe_base_action
        return [*map(str, self.config.env.observation), *base]

    def _file(self, name: str) -> Path:
        if not (self.path / name).is_file():
            raise self._not_evaluated()
        return self.path / name

    def _not_evaluated(self) -> LoadedRunError:
        return LoadedRunError(
            f"{self.path} is {self.info['status']} and was not evaluated. "
            "play(seeds) runs episodes now; job=resume completes a run that was killed."
        )


def _table(episodes: Sequence[dict[str, Any]]) -> "pd.DataFrame":
    """Return rows of `episodes.csv` as a table, with floats as times of success."""
    import pandas as pd

    return pd.DataFrame(episodes).astype({"time_to_success_s": float})


def _check_checkpoint(folder: Path, name: str) -> None:
    """Raise if a run has no checkpoint of this name."""
    known = sorted(path.name for path in folder.glob("[!.]*"))
    if name not in known:
        raise LoadedRunError(
            f"checkpoint={name}: there is no such folder in {folder}."
            f"{did_you_mean(nearest(name, known))} "
            f"There are: {', '.join(known) or 'none'}"
        )


def _names(lines: Sequence[dict[str, Any]]) -> list[str]:
    """Return all names of the lines, in the order of their first occurrence."""
    return list(dict.fromkeys(["step", *(name for line in lines for name in line)]))


def make(
    env: str,
    *,
    base_policy: str = "zero",
    overrides: Sequence[str] = (),
    render_mode: str | None = None,
) -> SingleEnv:
    """Build the environment that `gymnasium.make` returns.

    Args:
        env: Option of the config group `env`.
        base_policy: Option of the config group `base_policy`. With `zero` an action
            goes to the task; with any other option it corrects the base action.
        overrides: Anything else as on the command line, e.g. `residual.alpha=0.5`.
        render_mode: See `SingleEnv`.
    """
    batch = _build(env, base_policy, ["n_threads=1", *overrides], n=1)
    return SingleEnv(batch, render_mode=render_mode)


make.metadata = SingleEnv.metadata  # type: ignore[attr-defined]  # for gym.make


def make_vec(
    env: str,
    *,
    num_envs: int,
    base_policy: str = "zero",
    overrides: Sequence[str] = (),
) -> ResidualEnv:
    """Build the batch that `gymnasium.make_vec` returns; see `make`."""
    return _build(env, base_policy, overrides, n=num_envs)


def _build(
    env: str, base_policy: str, overrides: Sequence[str], *, n: int
) -> ResidualEnv:
    typed = {word.partition("=")[0] for word in overrides}
    options = {"env": env, "base_policy": base_policy}
    words = [f"{key}={name}" for key, name in options.items() if key not in typed]
    cfg = compose([*words, *overrides])
    return _build_seeded(cfg, n)


def _build_seeded(cfg: DictConfig, n: int) -> ResidualEnv:
    """Build a batch of `n` environments with a random seed for their first reset."""
    with user_errors():
        batch = build_env(cfg, n)
    # Gymnasium's users expect random episodes if they give no seed.
    batch.seed(secrets.randbits(32))
    return batch
