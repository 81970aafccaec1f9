"""The types of the root config keys; their values are in `conf/`, with units.

A group node (`env`, `algo`, ...) is an untyped mapping: its keys are those of the class
that its `_target_` names, whose constructor checks the values.
"""

import math
import re
import secrets
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from hydra.core.config_store import ConfigStore
from omegaconf import MISSING, DictConfig, OmegaConf
from omegaconf.errors import InterpolationKeyError

from so101rl.config.overrides import check_key
from so101rl.errors import ConfigError, check_positive

GROUPS = ("job", "env", "base_policy", "algo", "randomization", "hardware", "tracking")
# Keys of one call: what to do now. A run's config does not bring them back.
CALL_KEYS = (
    *("job", "run", "checkpoint", "replay", "prune", "trust"),
    *("runs", "out", "verify", "study", "part_of", "packages"),
)
# Keys that do not change what is learned: a resumed run may have other values.
NEUTRAL_KEYS = (
    *CALL_KEYS,
    *("tracking", "n_threads", "evaluation.video", "evaluation.figure"),
)
EVALUATION_ROLES = ("report", "tune")  # see so101rl/seeds.py
TEST = re.compile(r"[a-z0-9][a-z0-9_-]{0,31}")  # names in evaluation.tests
PRUNE = re.compile(r"checkpoints|failed|(?P<days>\d{1,6})d")


@dataclass
class ResidualConfig:
    """How the residual is added to the base action."""

    alpha: Any = MISSING  # float, list of one per joint, or {start, end, steps}
    penalty: float = MISSING
    observe_base_action: bool = MISSING
    zero_init: bool = MISSING
    exploration_std: float | None = MISSING


@dataclass
class EvaluationConfig:
    """Held-out episodes: how many, how often, and which files show them."""

    n_episodes: int = MISSING
    role: str = MISSING
    select_episodes: int = MISSING
    every: int = MISSING
    tests: dict[str, Any] = MISSING  # randomizations by name
    stop_at: float | None = MISSING
    video: bool = MISSING
    figure: bool = MISSING


@dataclass
class StudyConfig:
    """What a study registers before its first run, see `so101rl.sweeps`."""

    question: str = MISSING
    arms: dict[str, list[str]] = MISSING
    reference: str = MISSING
    seeds: int = MISSING
    metric: str = MISSING
    test: str = MISSING
    correction: str = MISSING
    significance: float = MISSING


@dataclass
class Config:
    """The config that a job gets."""

    job: dict[str, Any] = field(default_factory=dict)
    env: dict[str, Any] = field(default_factory=dict)
    base_policy: dict[str, Any] = field(default_factory=dict)
    algo: dict[str, Any] = field(default_factory=dict)
    randomization: dict[str, Any] = field(default_factory=dict)
    hardware: dict[str, Any] = field(default_factory=dict)
    tracking: dict[str, Any] = field(default_factory=dict)
    residual: ResidualConfig = field(default_factory=ResidualConfig)
    evaluation: EvaluationConfig = field(default_factory=EvaluationConfig)
    seed: int = MISSING
    total_timesteps: int = MISSING
    n_envs: int = MISSING
    n_threads: int | None = MISSING
    torch_threads: int = MISSING
    init_from: str | None = MISSING
    run: str | None = MISSING
    checkpoint: str | None = MISSING
    replay: str | None = MISSING
    prune: str | None = MISSING
    trust: bool = MISSING
    runs: list[str] | None = MISSING
    out: str | None = MISSING
    verify: bool = MISSING
    study: StudyConfig | None = MISSING
    part_of: Any = MISSING  # a mapping or null
    packages: list[str] = MISSING
    checkpoint_every: int = MISSING
    keep_checkpoints: int = MISSING
    log_every: int = MISSING


# key -> lowest and highest allowed value
RANGES: dict[str, tuple[float, float]] = {
    "seed": (0, 2**32 - 1),
    "total_timesteps": (1, math.inf),
    "n_envs": (1, 65536),
    "n_threads": (1, 4096),
    "torch_threads": (1, 4096),
    "residual.exploration_std": (1e-6, 10),
    "checkpoint_every": (1, math.inf),
    "keep_checkpoints": (1, math.inf),
    "log_every": (1, math.inf),
    "residual.penalty": (0, 1e6),
    "evaluation.n_episodes": (1, math.inf),
    "evaluation.select_episodes": (1, math.inf),
    "evaluation.every": (1, math.inf),
    "evaluation.stop_at": (1e-6, 1),
    "study.seeds": (1, 10_000),
    "study.significance": (1e-6, 0.5),
    # those of these keys that the learner has
    "algo.n_steps": (1, math.inf),
    "algo.batch_size": (1, math.inf),
    "algo.n_epochs": (1, math.inf),
    "algo.buffer_size": (1, math.inf),
    "algo.train_freq": (1, math.inf),
    "algo.gradient_steps": (1, math.inf),
    "algo.gamma": (0, 1),
    "algo.gae_lambda": (0, 1),
    "algo.tau": (0, 1),
}


def register() -> None:
    """Register the schema and the `run_id` resolver with Hydra; may be repeated."""
    ConfigStore.instance().store(name="schema", node=Config)
    # Environment variables, which may hold passwords, must not get into a config.
    OmegaConf.clear_resolver("oc.env")
    # Six random hex digits, the same in all of one config: two runs started within the
    # same second get two directories.
    OmegaConf.register_new_resolver(
        "run_id", lambda: secrets.token_hex(3), use_cache=True, replace=True
    )


def validate(cfg: DictConfig) -> None:
    """Refuse a composed config with a wrong value.

    Of the group nodes only `algo` is checked, because learners check little themselves.

    Raises:
        ConfigError: Naming the first wrong key and what is expected.
    """
    _check_interpolations(cfg)
    for group in GROUPS:
        if not cfg[group]:
            raise ConfigError(group, got=None, expected="one of the group's options")
    takes_run = cfg.job.get("loads_run", False) or cfg.job.get("takes_run", False)
    if cfg.run is not None and not takes_run:
        expected = "null; only jobs that read a run take it, such as job=evaluate"
        raise ConfigError("run", got=cfg.run, expected=expected)
    _check_prune(cfg)
    if cfg.evaluation.role not in EVALUATION_ROLES:
        expected = " or ".join(EVALUATION_ROLES)
        raise ConfigError("evaluation.role", got=cfg.evaluation.role, expected=expected)
    for name in cfg.evaluation.tests:
        if not TEST.fullmatch(name):
            expected = "small letters, digits, _ and -"
            raise ConfigError("evaluation.tests", got=name, expected=expected)
    for key, (low, high) in RANGES.items():
        value = OmegaConf.select(cfg, key)
        if isinstance(value, int | float) and not low <= value <= high:
            raise ConfigError(key, got=value, expected=_between(low, high))
    if isinstance(cfg.algo.get("learning_rate"), int | float):
        check_positive({"algo.learning_rate": cfg.algo.learning_rate})
    _check_alpha(OmegaConf.to_container(cfg.residual)["alpha"])  # type: ignore


def settings(cfg: DictConfig, *, without: Collection[str] = ()) -> dict[str, Any]:
    """Return the resolved values of a config by dotted key; lists are one value.

    Leaves out the dotted keys in `without`, with all below them.
    """

    def walk(node: Mapping[Any, Any], prefix: str) -> Iterator[tuple[str, Any]]:
        for name, value in node.items():
            key = f"{prefix}{name}"
            if key in without:
                continue
            if isinstance(value, dict) and value:
                yield from walk(value, f"{key}.")
            else:
                yield key, value

    plain = OmegaConf.to_container(cfg, resolve=True)
    assert isinstance(plain, dict)
    return dict(walk(plain, ""))


def _between(low: float, high: float) -> str:
    """Describe a range."""
    if math.isinf(high):
        return f"a number >= {low:g}"
    return f"a number between {low} and {high}"


def _check_interpolations(cfg: DictConfig) -> None:
    """Refuse `${...}` that names a key which does not exist."""
    for key in cfg:
        if key == "hydra":
            continue
        try:
            node = cfg[key]
            if isinstance(node, DictConfig):
                OmegaConf.to_container(node, resolve=True)
        except InterpolationKeyError as error:
            missing = str(error.msg or error).split("'")[1]
            check_key(missing, None, cfg, f"{error.full_key} refers to ")
            raise


def _check_prune(cfg: DictConfig) -> None:
    """Refuse `prune` for a job that does not delete, and a rule that is unknown."""
    if cfg.prune is None:
        return
    if not cfg.job.get("takes_prune", False):
        expected = "null; only job=runs deletes"
        raise ConfigError("prune", got=cfg.prune, expected=expected)
    if not PRUNE.fullmatch(cfg.prune):
        expected = "checkpoints, failed, or an age in days such as 30d"
        raise ConfigError("prune", got=cfg.prune, expected=expected)


def _check_alpha(alpha: object) -> None:
    """Refuse an authority that is no share, list of shares (of any length) or ramp."""
    if isinstance(alpha, dict):
        steps = alpha.get("steps")
        valid = (
            set(alpha) == {"start", "end", "steps"}
            and _is_share(alpha["start"])
            and _is_share(alpha["end"])
            and isinstance(steps, int)
            and steps >= 1
        )
    else:
        valid = all(map(_is_share, alpha if isinstance(alpha, list) else [alpha]))
    if not valid:
        expected = (
            "a number in [0, 1], a list of such numbers (one per joint), "
            "or {start: a, end: b, steps: n}"
        )
        raise ConfigError("residual.alpha", got=alpha, expected=expected)


def _is_share(value: object) -> bool:
    """Tell whether a value is a number in [0, 1]; True and False are none."""
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return is_number and 0.0 <= value <= 1.0  # type: ignore[operator]
