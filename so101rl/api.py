"""A run as scripts and notebooks want it: its policy, its books, its environments."""

import os
import secrets
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from hydra.errors import InstantiationException
from omegaconf import DictConfig, OmegaConf

from so101rl import gym_ids  # noqa: F401  makes Gymnasium's ids known
from so101rl.build import build_env
from so101rl.config.compose import compose
from so101rl.config.from_run import find_run
from so101rl.config.messages import user_error
from so101rl.envs.wrappers.residual import Alpha, ResidualEnv
from so101rl.envs.wrappers.single_env import SingleEnv
from so101rl.errors import DivergedError, So101Error, did_you_mean, nearest
from so101rl.evaluation.rollout import episode_rows, run_episodes
from so101rl.policies.export import export_policy
from so101rl.policies.load import load_policy
from so101rl.robots.so101 import N_JOINTS
from so101rl.runs.run_dir import EPISODES, RunDir
from so101rl.runs.trajectories import TRAJECTORIES, Trajectory, read_trajectories

if TYPE_CHECKING:
    import pandas as pd

FOLDER = "checkpoints"


class LoadedRunError(So101Error):
    """A run lacks what is asked of it, or its policy is asked about something else."""


class LoadedRun:
    """A run's policy, and what the run wrote down; see `so101rl.load`.

    Attributes:
        path: the run directory.
        info: the content of `run.json`.
        config: the run's resolved config.
        step: env step that the policy stems from.
        alpha: authority of the residual (6,) then.
    """

    def __init__(self, run: str | os.PathLike[str], *, checkpoint: str = "best"):
        self.path = find_run(os.fspath(run)).absolute()
        opened = RunDir.open(self.path)
        self.info, self.config = opened.info, opened.config()
        self._checkpoint = checkpoint
        _check_checkpoint(self.path / FOLDER, checkpoint)
        cfg = self._compose()
        with in_our_words():
            self._policy, self.step = load_policy(cfg)
        self._size = self._policy.model.observation_space.shape[0]
        alpha: Any = OmegaConf.to_container(cfg.residual, resolve=True)
        self.alpha = Alpha(alpha["alpha"]).at(self.step)

    def act(self, obs: np.ndarray) -> np.ndarray:
        """Residuals in [-1, 1] without exploration.

        A recurrent policy remembers its episodes from call to call until `reset`.

        Args:
            obs: observations (n, d), one row per environment, or a single one (d,).

        Returns:
            Residuals (n, 6), or (6,) for a single observation.

        Raises:
            LoadedRunError: `obs` has another shape.
            DivergedError: `obs` has a number that is not finite.
        """
        vector = np.asarray(obs, np.float32)
        if vector.ndim not in (1, 2) or vector.shape[-1] != self._size:
            raise LoadedRunError(
                f"obs has the shape {vector.shape}; this policy takes ({self._size},) "
                f"or (n, {self._size}): {', '.join(self._columns())}"
            )
        batch = np.atleast_2d(vector)
        if not np.isfinite(batch).all():
            row = int(np.argwhere(~np.isfinite(batch))[0, 0])
            raise DivergedError("obs", str(batch[row]), env=row)
        return self._policy.act(batch).reshape(*vector.shape[:-1], N_JOINTS)

    def reset(self, ids: np.ndarray | None = None) -> None:
        """Forget the episodes of the environments `ids` (k,); None: of all."""
        self._policy.reset(ids)

    def make_env(self, n: int = 1, *, overrides: Sequence[str] = ()) -> ResidualEnv:
        """The run's own environment, a Gymnasium vector environment.

        Its base policy and the authority of the residual are those that the policy was
        chosen with. An environment that ends an episode begins the next by itself.

        Args:
            n: how many run together.
            overrides: changes as on the command line, e.g. `randomization=hard`.
        """
        with in_our_words():
            env = build_seeded(self._compose(*overrides), n)
        env.progress(self.step)
        return env

    def play(
        self, seeds: Sequence[int], *, overrides: Sequence[str] = ()
    ) -> "pd.DataFrame":
        """Run one episode per seed, all at once.

        Args:
            seeds: the episodes.
            overrides: see `make_env`.

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
        self._file(EPISODES)  # or say that there are none
        return _table(RunDir.open(self.path).episodes())

    @property
    def metrics(self) -> "pd.DataFrame":
        """`metrics.jsonl`: a row per env step that was logged, a column per name."""
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
        """Write this policy, blended with its base, as `job=export` does.

        Returns:
            The TorchScript file; `policy.json` beside it says what goes in.
        """
        with in_our_words():
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
        """The run's config, changed by what is typed."""
        path = str(self.path).replace("\\", "\\\\").replace("'", "\\'")
        cfg = compose([f"job={job}", f"run='{path}'", *overrides])
        cfg.checkpoint = str(self.path / FOLDER / self._checkpoint)
        return cfg

    def _columns(self) -> list[str]:
        """Names of the arrays that an observation is made of, in their order."""
        base = ["base_action"] * self.config.residual.observe_base_action
        return [*map(str, self.config.env.observation), *base]

    def _file(self, name: str) -> Path:
        if not (self.path / name).is_file():
            raise self._not_evaluated()
        return self.path / name

    def _not_evaluated(self) -> LoadedRunError:
        return LoadedRunError(
            f"{self.path} is {self.info['status']} and was not evaluated. "
            "play(seeds) runs episodes now; job=resume ends a run that was killed."
        )


def _table(episodes: Sequence[dict[str, Any]]) -> "pd.DataFrame":
    """Rows of `episodes.csv` with their types, also if not one was solved."""
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
    """Every name of the lines once, in the order of their first occurrence."""
    return list(dict.fromkeys(["step", *(name for line in lines for name in line)]))


def make(
    env: str,
    *,
    base_policy: str = "zero",
    overrides: Sequence[str] = (),
    render_mode: str | None = None,
) -> SingleEnv:
    """What `gymnasium.make` calls.

    Args:
        env: option of the config group `env`.
        base_policy: option of the config group `base_policy`; `zero` leaves the plain
            task, any other one turns actions into corrections of what it proposes.
        overrides: anything else as on the command line, e.g. `residual.alpha=0.5`.
        render_mode: see `SingleEnv`.
    """
    batch = _build(env, base_policy, ["n_threads=1", *overrides], n=1)
    return SingleEnv(batch, render_mode=render_mode)


make.metadata = SingleEnv.metadata  # type: ignore[attr-defined]  # gym.make asks for it


def make_vec(
    env: str,
    *,
    num_envs: int,
    base_policy: str = "zero",
    overrides: Sequence[str] = (),
) -> ResidualEnv:
    """What `gymnasium.make_vec` calls: the batch itself; see `make`."""
    return _build(env, base_policy, overrides, n=num_envs)


def _build(
    env: str, base_policy: str, overrides: Sequence[str], *, n: int
) -> ResidualEnv:
    cfg = compose([f"env={env}", f"base_policy={base_policy}", *overrides])
    with in_our_words():
        return build_seeded(cfg, n)


def build_seeded(cfg: DictConfig, n: int) -> ResidualEnv:
    """A batch of `n` environments whose first episodes nobody chose."""
    batch = build_env(cfg, n)
    # Gymnasium's users who give no seed expect just that.
    batch.reset(seed=secrets.randbits(32))
    return batch


@contextmanager
def in_our_words() -> Iterator[None]:
    """Take what a constructor says out of what Hydra wraps around it."""
    try:
        yield
    except InstantiationException as error:
        raise (user_error(error) or error) from error
