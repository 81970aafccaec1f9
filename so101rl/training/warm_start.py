"""`init_from=RUN`: a training that begins with the best policy of an earlier run."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf
from stable_baselines3.common.base_class import BaseAlgorithm

from so101rl.algos.initialization import set_exploration
from so101rl.config.from_run import BEST, find_run, load_config
from so101rl.config.schema import settings
from so101rl.errors import So101Error
from so101rl.files import read_json
from so101rl.policies import checkpoint
from so101rl.runs.differences import ABSENT, changed_values, differences
from so101rl.runs.run_dir import RunDir

GROUPS = ("env", "base_policy", "randomization", "hardware", "residual", "algo")
NETWORKS = "algo.policy_kwargs."
OBSERVE_BASE = "residual.observe_base_action"
OBSERVATIONS = ("env.observation.", OBSERVE_BASE)
# Keys that set how a learner starts, which the source replaces, or how long it learns.
NOT_SHOWN = ("residual.zero_init", "residual.exploration_std", "algo.total_timesteps")
MAX_SHOWN = 3  # differences of one group that are printed one by one


class WarmStartError(So101Error):
    """The policy of `init_from` does not fit the config of this training."""

    def __init__(self, run: object, reason: str):
        """Start the message with the key and the run."""
        super().__init__(f"init_from={run}: {reason}")


def warm_start(
    cfg: DictConfig, model: BaseAlgorithm, identity: Mapping[str, Any] | None = None
) -> dict[str, Any] | None:
    """Load the best policy of `cfg.init_from` into a learner that has not learned yet.

    All networks are loaded: actor, critics, value function, targets. Optimizers, replay
    buffer, counters and generators are not.

    Args:
        cfg: the new run's config; `init_from=latest` is replaced by that run's path.
        model: its learner, as `build_algo` returns it.
        identity: of its base policy; None: unknown.

    Returns:
        What `run.json` records of the source; None without `init_from`.

    Raises:
        WarmStartError: algorithm, networks or observations differ from the source's.
    """
    if cfg.init_from is None:
        return None
    path = find_run(cfg.init_from, key="init_from").absolute()
    cfg.init_from = str(path)
    info = RunDir.open(path).info
    before, now = _learning_settings(load_config(path)), _learning_settings(cfg)
    _check_networks(path, before, now)
    _check_observations(path, before, now, info["groups"])
    step = checkpoint.load(model, path / BEST)
    std = cfg.residual.exploration_std
    if std is not None:
        set_exploration(model, std)
    tensors = len(model.policy.state_dict())
    print(f"init_from {path}: all {tensors} tensors of its best policy (step {step})")
    print(f"  not carried over: {', '.join(_not_carried_over(model, std))}")
    lines = _changes_by_group(before, now)
    told = info.get("base_policy")
    if None not in (told, identity) and told != identity:
        lines.append(f"identity of the base policy: {told} -> {identity}")
    for line in lines:
        print(f"  differs: {line}", flush=True)
    return {
        "path": str(path),
        "name": info["name"],
        "uid": info["uid"],
        "step": step,
        "sha256": read_json(path / BEST / checkpoint.META)["sha256"][checkpoint.POLICY],
    }


def check_same_source(
    info: Mapping[str, Any], source: Mapping[str, Any] | None
) -> None:
    """Refuse a policy that is not the one with which a run began.

    Args:
        info: the content of that run's `run.json`.
        source: what `warm_start` returned now.

    Raises:
        WarmStartError: the sha256 differs, or only one of the two has a source.
    """
    sources = info.get("init_from"), source
    before, now = ("none" if one is None else one["sha256"][:12] for one in sources)
    if before != now:
        reason = "the policy is not the one that this run began with "
        reason += f"(sha256 {before} -> {now})"
        raise WarmStartError("null" if source is None else source["path"], reason)


def _learning_settings(cfg: DictConfig) -> dict[str, Any]:
    """Return the settings that define what is learned, by dotted key."""
    return settings(OmegaConf.masked_copy(cfg, [g for g in GROUPS if g in cfg]))


def _check_networks(path: Path, before: dict[str, Any], now: dict[str, Any]) -> None:
    """Refuse another algorithm or other networks; their optimizers may differ."""
    source, here = before.get("algo._target_"), now["algo._target_"]
    if source != here:
        reason = f"{source} learned its policy, {here} cannot go on with it"
        raise WarmStartError(path, f"{reason}; choose the same algo")
    for key, (source, here) in changed_values(before, now).items():
        if NETWORKS in key and "optimizer" not in key:
            typed = "leave it out" if source == ABSENT else f"type {key}={source}"
            reason = f"its networks differ, {key}: {source} -> {here}"
            raise WarmStartError(path, f"{reason}; {typed.replace(', ', ',')}")


def _check_observations(
    path: Path, before: dict[str, Any], now: dict[str, Any], groups: Mapping[str, Any]
) -> None:
    """Refuse observations of another meaning; their order matters too."""
    old, new = (
        {key: value for key, value in values.items() if key.startswith(OBSERVATIONS)}
        for values in (before, now)
    )
    changes = differences(old, new)
    if not changes and list(old) != list(new):
        changes = [f"order: {', '.join(old)} -> {', '.join(new)}"]
    if not changes:
        return
    if len(changes) > MAX_SHOWN:
        changes[MAX_SHOWN:] = [f"and {len(changes) - MAX_SHOWN} more"]
    chosen = groups.get("env/observation", "(unknown)")
    raise WarmStartError(
        path,
        "its policy reads other observations (there -> here):\n  "
        + "\n  ".join(changes)
        + f"\nThat run had env/observation={chosen} {OBSERVE_BASE}="
        + f"{str(before.get(OBSERVE_BASE, ABSENT)).lower()}",
    )


def _not_carried_over(model: BaseAlgorithm, std: float | None) -> list[str]:
    """Return what the earlier training had and this one starts anew."""
    learner: Any = model
    names = ["optimizers"]
    if getattr(learner, "replay_buffer", None) is not None:
        names.append("replay buffer")
    if getattr(learner, "ent_coef_optimizer", None) is not None:
        names.append("entropy coefficient")
    if std is not None:
        names.append(f"exploration (residual.exploration_std={std})")
    return names


def _changes_by_group(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """Return a line per changed key, or one line for a group with many of them."""
    changed, lines = changed_values(before, now), []
    for group in GROUPS:
        own = {k: v for k, v in changed.items() if k.startswith(f"{group}.")}
        shown = [f"{k}: {a} -> {b}" for k, (a, b) in own.items() if k not in NOT_SHOWN]
        if len(shown) > MAX_SHOWN:
            classes = own.get(f"{group}._target_", ())
            kinds = " -> ".join(str(name).rpartition(".")[2] for name in classes)
            shown = [f"{group}: {len(shown)} keys" + (f", {kinds}" if kinds else "")]
        lines += shown
    return lines
