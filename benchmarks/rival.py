"""The rival: the same task as an ordinary scalar `gymnasium.Env`.

It is written as usual for Stable-Baselines3's `SubprocVecEnv`: one arm, `mj_step`,
plain floats. Physics model, observation, reward, randomization and base policy are
those of `env=paper_push base_policy=jacobian`; configuration, scene and randomization
terms are shared with the package, the batched code is not. `trajectories.py` checks
that both worlds go through the same states.

It saves work where a scalar program can: forward kinematics, Jacobian and gravity
come from one pass, and the press is only computed while the finger drags.
"""

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import gymnasium as gym
import mujoco
import numpy as np
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

from so101rl.envs.paper_push import SHEET, SQUARE
from so101rl.hardware.base import Quantity
from so101rl.robots import so101
from so101rl.scene.scene import Actuator, build_spec

NOISE = ("qpos", "qvel", "object_position", "object_yaw")
N_NOISE, N_JOINTS = 16, len(so101.JOINTS)
QUARTER = math.pi / 2
ONE = np.array([0])  # ids of the only environment


class ScalarJacobian:
    """Press and drag by damped least squares, for one arm.

    Args:
        keys: the values of `conf/base_policy/jacobian.yaml`.
    """

    def __init__(self, keys: dict[str, Any]):
        self._k = keys
        self._model = so101.SO101().bare_model()
        self._data = mujoco.MjData(self._model)
        self._site = self._model.site(so101.FINGERTIP).id
        self._jac = np.zeros((6, N_JOINTS))
        self._task = np.zeros((5, so101.ARM_JOINTS))
        self._task[4, 1:4] = keys["lever"]
        self._damping = keys["damping"] * np.eye(5)
        self._gravity = np.zeros(N_JOINTS)

    def fingertip(self, qpos: np.ndarray) -> np.ndarray:
        """Position (3,) [m] at `qpos` (6,) [rad]; `act` uses the same kinematics."""
        model, data = self._model, self._data
        data.qpos[:] = qpos
        mujoco.mj_kinematics(model, data)
        mujoco.mj_comPos(model, data)
        return data.site_xpos[self._site].copy()

    def act(self, obs: dict[str, np.ndarray]) -> np.ndarray:
        """Propose an action (6,) in [-1, 1]; call `fingertip` before."""
        k, jac = self._k, self._jac
        tip, qpos = obs["ee_pos"], obs["qpos"]
        mujoco.mj_jacSite(self._model, self._data, jac[:3], jac[3:], self._site)
        xy, z, turn, drag = self._plan(obs, float(tip[2]))
        task = self._task
        task[:3] = jac[:3, : so101.ARM_JOINTS]
        task[3] = k["lever"] * jac[5, : so101.ARM_JOINTS]
        pitch = k["kp_ori"] * (k["pitch"] - (qpos[1] + qpos[2] + qpos[3]))
        error = np.array([xy[0], xy[1], z, k["lever"] * turn, k["lever"] * pitch])
        delta = np.empty(N_JOINTS)
        gram = task @ task.T + self._damping
        delta[: so101.ARM_JOINTS] = task.T @ np.linalg.solve(gram, error)
        delta[5] = k["kp_xyz"] * (k["jaw"] - qpos[5])
        if drag:
            delta[: so101.ARM_JOINTS] += self._press(obs)
        return np.clip(delta / k["act_scale"], -1.0, 1.0)

    def _plan(
        self, obs: dict[str, np.ndarray], height: float
    ) -> tuple[tuple[float, float], float, float, bool]:
        """Fingertip step in x, y and in z [m], turn [rad], and whether it drags."""
        k = self._k
        tip, local = obs["tip_to_object"], obs["tip_in_object"]
        away = math.hypot(tip[0], tip[1])
        on_sheet = max(abs(local[0]), abs(local[1])) < 2 * k["above"]
        drag = bool(height < k["touch"] and on_sheet)
        x, y, turn, z = -tip[0], -tip[1], 0.0, 0.0
        if drag:
            x, y = float(obs["goal"][0]), float(obs["goal"][1])
            if math.hypot(x, y) < k["position_tolerance"]:
                x = y = 0.0
            yaw_error = float(obs["yaw_error"][0])
            if abs(yaw_error) >= k["yaw_tolerance"]:
                turn = _clip(-k["kp_ori"] * yaw_error, k["max_turn"])
        else:
            rise = (0.0 if away < k["above"] else k["hover"]) - height
            z = _clip(k["kp_xyz"] * rise, k["max_step"])
        x, y = k["kp_xyz"] * x, k["kp_xyz"] * y
        share = k["max_step"] / max(math.hypot(x, y), k["max_step"])
        return (x * share, y * share), z, turn, drag

    def _press(self, obs: dict[str, np.ndarray]) -> np.ndarray:
        """Joint steps (5,) [rad] that bring the fingertip's force to the press."""
        k = self._k
        mujoco.mj_rne(self._model, self._data, 0, self._gravity)
        torque = k["stiffness"] * (obs["target_qpos"] - obs["qpos"]) - self._gravity
        down = self._jac[2, : so101.ARM_JOINTS]
        force = (torque[: so101.ARM_JOINTS] @ down) / (down @ down)
        return k["kp_press"] * (-k["press"] - force) / k["stiffness"] * down


class Rival(gym.Env):
    """One arm, one sheet, one square.

    Args:
        cfg: a composed config, as `main.py` would get it.
    """

    def __init__(self, cfg: DictConfig):
        keys: Any = OmegaConf.to_container(cfg, resolve=True)
        self._env, self._penalty = keys["env"], keys["residual"]["penalty"]
        self._alpha = np.asarray(keys["residual"]["alpha"], float)
        self._build_world(cfg, keys["hardware"])
        self._base = ScalarJacobian(keys["base_policy"])
        self._home = np.array(self._env["home_qpos"])
        self._layout = [
            (name, 1.0 / np.asarray(scale, float))
            for name, scale in self._env["observation"].items()
        ]
        self._noise = dict.fromkeys(NOISE, 0.0)
        self._noisy = False
        self._offset = np.zeros(N_JOINTS)
        self._start = np.array(self._env["start_pose"])
        self._randomization = instantiate(cfg.randomization, _convert_="all")
        self._randomization.bind(self._quantities())
        self._rng = self._noise_rng = np.random.default_rng()
        self.action_space = gym.spaces.Box(-1.0, 1.0, (N_JOINTS,), np.float32)
        obs, _ = self.reset()
        self.observation_space = gym.spaces.Box(-np.inf, np.inf, obs.shape, np.float32)

    @property
    def qpos(self) -> np.ndarray:
        """State of arm and sheet (13,)."""
        return self._data.qpos

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """Begin an episode; a seed draws what a batch of one would draw."""
        del options
        if seed is not None:
            root = np.random.SeedSequence([seed])
            self._rng = np.random.default_rng(root)
            self._noise_rng = np.random.default_rng(root.spawn(1)[0])
        if self._randomization.apply(ONE, [self._rng]):
            mujoco.mj_setConst(self._model, self._data)
        self._noisy = any(self._noise.values())
        self._lay_out()
        self._target = self._home.copy()
        self._elapsed = self._held = 0
        obs = self._observe(self._rng)
        self._corners, self._potential = self._errors()
        return self._vector(obs), {}

    def step(
        self, action: np.ndarray
    ) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        """Apply a residual (6,) in [-1, 1] on top of the base policy."""
        residual = np.clip(np.asarray(action, float), -1.0, 1.0)
        self._move(np.clip(self._proposal + self._alpha * residual, -1.0, 1.0))
        self._elapsed += 1
        obs = self._observe(self._noise_rng)
        before, corners = self._potential, self._corners
        self._corners, self._potential = self._errors()
        moved = max(map(math.dist, self._corners, corners))
        at_rest = moved * self._env["control_hz"] < self._env["rest_speed"]
        solved = self._potential["outside"] <= 0 and at_rest
        self._held = self._held + 1 if solved else 0
        success = self._held >= self._env["hold_steps"]
        reach = float(np.linalg.norm(obs["tip_to_object"])) / self._env["reach_scale"]
        terms = {
            "reach": -min(reach, 1.0),
            "progress": before["outside"] - self._potential["outside"],
            "orientation": before["yaw"] - self._potential["yaw"],
            "outside": -self._potential["outside"],
            "success": float(success),
            "time": -1.0,
        }
        reward = sum(w * terms[name] for name, w in self._env["reward"].items())
        reward -= self._penalty * float(residual @ residual) / N_JOINTS
        truncated = self._elapsed >= self._env["max_episode_steps"] and not success
        return self._vector(obs), reward, success, truncated, {"is_success": success}

    # ---- inside ----------------------------------------------------------------

    def _build_world(self, cfg: DictConfig, hardware: dict[str, Any]) -> None:
        env = self._env
        self._substeps = env["physics_hz"] // env["control_hz"]
        self._max_step = hardware["max_speed"] / env["control_hz"]
        self._limits = so101.SO101().limits
        scene = instantiate(cfg.env.scene, _convert_="all")
        self._sheet, self._square = scene.parts[SHEET], scene.parts[SQUARE]
        self._actuator = Actuator(**hardware["presets"][hardware["actuator"]])
        spec = build_spec(
            scene,
            so101.SO101(),
            self._actuator,
            timestep=1 / env["physics_hz"],
            home_qpos=np.array(env["home_qpos"]),
            delay_samples=math.ceil(hardware["max_delay"] * env["physics_hz"]) + 1,
        )
        self._model = spec.compile()
        self._data = mujoco.MjData(self._model)

    def _lay_out(self) -> None:
        """Put arm and sheet at their starts; servos hold until the first command."""
        data, model = self._data, self._model
        mujoco.mj_resetData(model, data)
        home = self._home - self._offset
        x, y, yaw = self._start
        height = self._sheet.size[2] / 2
        data.qpos[:6] = data.ctrl[:] = home
        data.qpos[6:] = x, y, height, math.cos(yaw / 2), 0, 0, math.sin(yaw / 2)
        for i, adr in enumerate(model.actuator_historyadr):
            samples = int(model.actuator_history[i, 0])
            data.history[adr + 2 + samples : adr + 2 + 2 * samples] = home[i]

    def _move(self, action: np.ndarray) -> None:
        leash, previous = self._env["control"]["leash"], self._target
        measured = self._data.qpos[:6] + self._offset
        target = previous + self._env["act_scale"] * action
        target = np.clip(target, measured - leash, measured + leash)
        step = np.clip(target - previous, -self._max_step, self._max_step)
        self._target = np.clip(previous + step, *self._limits)
        self._data.ctrl[:] = self._target - self._offset
        mujoco.mj_step(self._model, self._data, self._substeps)

    def _observe(self, rng: np.random.Generator) -> dict[str, np.ndarray]:
        qpos = self._data.qpos[:6] + self._offset
        qvel, pose = self._data.qvel[:6].copy(), self._data.qpos[6:].copy()
        draw, noise = rng.standard_normal(N_NOISE), self._noise
        if self._noisy:
            qpos += noise["qpos"] * draw[:6]
            qvel += noise["qvel"] * draw[6:12]
            pose[:3] += noise["object_position"] * draw[12:15]
            pose[3:] = _turned(pose[3:], noise["object_yaw"] * draw[15])
        yaw = _yaw_of(pose[3:])
        error, cos, sin = _yaw_error(yaw), math.cos(yaw), math.sin(yaw)
        ee_pos = self._base.fingertip(qpos)
        tip = ee_pos - pose[:3]
        x, y, z = tip.tolist()
        centre = self._square.centre
        obs = {
            "qpos": qpos,
            "qvel": qvel,
            "target_qpos": self._target,
            "object_pose": pose,
            "goal": np.array([centre[0] - pose[0], centre[1] - pose[1], 0.0]),
            "ee_pos": ee_pos,
            "yaw_error": np.array([error]),
            "yaw_error_sin_cos": np.array([math.sin(error), math.cos(error)]),
            "tip_to_object": tip,
            "tip_in_object": np.array([cos * x + sin * y, cos * y - sin * x, z]),
            "servo_error": self._target - qpos,
        }
        self._proposal = self._base.act(obs)
        return obs

    def _errors(self) -> tuple[list[tuple[float, float]], dict[str, float]]:
        """True corners, relative to the square [m], and the remaining errors."""
        x, y = self._data.qpos[6:8].tolist()
        yaw = _yaw_of(self._data.qpos[9:])
        cos, sin, half = math.cos(yaw), math.sin(yaw), self._square.side / 2
        x, y = x - self._square.centre[0], y - self._square.centre[1]
        a, b = self._sheet.size[0] / 2, self._sheet.size[1] / 2
        signed = ((a, b), (-a, b), (-a, -b), (a, -b))
        corners = [(x + cos * u - sin * v, y + sin * u + cos * v) for u, v in signed]
        outside = sum(
            max(max(abs(corner[i]) for corner in corners) - half, 0.0) for i in (0, 1)
        )
        return corners, {"outside": outside, "yaw": abs(_yaw_error(yaw))}

    def _vector(self, obs: dict[str, np.ndarray]) -> np.ndarray:
        parts = [obs[name] * factor for name, factor in self._layout]
        return np.concatenate([*parts, self._proposal]).astype(np.float32)

    def _quantities(self) -> dict[str, Quantity]:
        """What a randomization may change; names as in `so101rl.hardware.sim`."""
        model, n = self._model, N_JOINTS
        sheet = model.body(SHEET).id
        inertia, mass = model.body_inertia[sheet].copy(), model.body_mass[sheet].copy()

        def weigh(value: np.ndarray) -> None:
            model.body_mass[sheet] = value
            model.body_inertia[sheet] = inertia * (value / mass)

        def gain(value: np.ndarray) -> None:
            model.actuator_gainprm[:, 0] = value
            model.actuator_biasprm[:, 1] = -value

        noise = {
            f"noise/{name}": _quantity(0.0, partial(self._noise.__setitem__, name))
            for name in self._noise
        }
        pairs = {
            f"friction/{model.pair(i).name}": _stored(friction[:2], friction[0])
            for i, friction in enumerate(model.pair_friction)
        }
        return {
            **noise,
            **pairs,
            "object_mass": _quantity(mass, weigh, derived=True),
            "actuator_kp": _quantity(np.full(n, self._actuator.kp), gain),
            "joint_damping": _stored(model.dof_damping[:n]),
            "joint_frictionloss": _stored(model.dof_frictionloss[:n]),
            "action_delay": _stored(model.actuator_delay, 0.0),
            "joint_offset": _stored(self._offset),
            "start_pose": _stored(self._start),
        }


def _quantity(
    nominal: Any, write: Callable[[np.ndarray], None], derived: bool = False
) -> Quantity:
    """A quantity of one world; `write` gets the value without its batch axis."""
    return Quantity(np.array(nominal), lambda _, values: write(values[0]), derived)


def _stored(array: np.ndarray, nominal: Any = None) -> Quantity:
    """A quantity that is stored in `array`."""
    nominal = array if nominal is None else nominal
    return _quantity(nominal, partial(array.__setitem__, slice(None)))


def _clip(value: float, limit: float) -> float:
    return max(-limit, min(limit, value))


def _yaw_of(quat: np.ndarray) -> float:
    w, x, y, z = quat.tolist()
    return math.atan2(2 * (w * z + x * y), 1 - 2 * (y * y + z * z))


def _yaw_error(yaw: float) -> float:
    return yaw - QUARTER * round(yaw / QUARTER)


def _turned(quat: np.ndarray, angle: float) -> list[float]:
    """A quaternion (4,) wxyz turned about the world's z by `angle` [rad]."""
    cos, sin = math.cos(angle / 2), math.sin(angle / 2)
    w, x, y, z = quat.tolist()
    return [cos * w - sin * z, cos * x - sin * y, cos * y + sin * x, cos * z + sin * w]
