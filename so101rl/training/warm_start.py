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
from so101rl.runs.run_dir import RunDir

GROUPS = ("env", "base_policy", "randomization", "hardware", "residual", "algo")
NETWORKS = "algo.policy_kwargs."
SEEN = "residual.observe_base_action"
INPUTS = ("env.observation.", SEEN)
# Keys that say how a learner starts, which it does not here, or how long it learns.
MOOT = ("residual.zero_init", "residual.exploration_std", "algo.total_timesteps")
ABSENT = "absent"
SHOWN = 3  # differences of one kind that are named one by one


class WarmStartError(So101Error):
    """The policy of `init_from` is not one that this training could begin with."""

    def __init__(self, run: object, reason: str):
        """Name the run."""
        super().__init__(f"init_from={run}: {reason}")


def warm_start(cfg: DictConfig, model: BaseAlgorithm) -> dict[str, Any] | None:
    """Put the best policy of `cfg.init_from` into a learner at its start.

    All networks are carried over: actor, critics, value function, targets. What a
    training gathers besides is not: optimizers, replay buffer, counters, generators.

    Args:
        cfg: the new run's config; the run that `latest` means takes its place in it.
        model: its learner, as `build_algo` returns it.

    Returns:
        What `run.json` keeps of the source; None without `init_from`.

    Raises:
        WarmStartError: the policy cannot do what this config asks for.
    """
    if cfg.init_from is None:
        return None
    path = find_run(cfg.init_from, key="init_from").absolute()
    cfg.init_from = str(path)
    saved = load_config(path)
    before, now = _that_matter(saved), _that_matter(cfg)
    _check_algo(path, before, now)
    _check_networks(path, before, now)
    _check_inputs(path, saved, cfg)
    step = checkpoint.load(model, path / BEST)
    std = cfg.residual.exploration_std
    if std is not None:
        set_exploration(model, std)
    info = RunDir.open(path).info
    tensors = len(model.policy.state_dict())
    print(f"init_from {path}: all {tensors} tensors of its best policy (step {step})")
    print(f"  not carried over: {', '.join(_left_behind(model, std))}")
    for line in _differences(before, now):
        print(f"  differs: {line}", flush=True)
    return {
        "path": str(path),
        "name": info["name"],
        "uid": info["uid"],
        "step": step,
        "sha256": read_json(path / BEST / checkpoint.META)["sha256"][checkpoint.POLICY],
    }


def check_same(begun: Mapping[str, Any], source: Mapping[str, Any] | None) -> None:
    """Refuse another policy than the one that a run began with.

    Args:
        begun: the content of that run's `run.json`.
        source: what `warm_start` returned now.

    Raises:
        WarmStartError: its sha256 is another one, or only one of them has a source.
    """
    sources = begun.get("init_from"), source
    before, now = ("none" if one is None else one["sha256"][:12] for one in sources)
    if before != now:
        reason = "the policy is not the one that this run began with "
        reason += f"(sha256 {before} -> {now})"
        raise WarmStartError("null" if source is None else source["path"], reason)


def _that_matter(cfg: DictConfig) -> dict[str, Any]:
    """The settings that say what is learned, by dotted key."""
    return settings(OmegaConf.masked_copy(cfg, [g for g in GROUPS if g in cfg]))


def _changes(before: Mapping[str, Any], now: Mapping[str, Any]) -> dict[str, str]:
    """What differs, as `there -> here` by dotted key."""
    keys = [*now, *(key for key in before if key not in now)]
    pairs = {key: (before.get(key, ABSENT), now.get(key, ABSENT)) for key in keys}
    return {key: f"{a} -> {b}" for key, (a, b) in pairs.items() if a != b}


def _check_algo(path: Path, before: dict[str, Any], now: dict[str, Any]) -> None:
    there, here = before.get("algo._target_"), now["algo._target_"]
    if there != here:
        reason = f"{there} learned its policy, {here} cannot go on with it"
        raise WarmStartError(path, f"{reason}; choose the same algo")


def _check_networks(path: Path, before: dict[str, Any], now: dict[str, Any]) -> None:
    """Refuse networks of other sizes or kinds; how they learn may change."""

    def networks(values: dict[str, Any]) -> dict[str, Any]:
        found = {key: value for key, value in values.items() if NETWORKS in key}
        return {key: value for key, value in found.items() if "optimizer" not in key}

    there = networks(before)
    changes = _changes(there, networks(now))
    if changes:
        key = next(iter(changes))
        typed = f"type {key}={there[key]}" if key in there else "leave it out"
        reason = f"its networks are others, {key}: {changes[key]}"
        raise WarmStartError(path, f"{reason}; {typed.replace(', ', ',')}")


def _check_inputs(path: Path, saved: DictConfig, cfg: DictConfig) -> None:
    """Refuse observations that mean something else than those it learned from."""
    before, now = _inputs(saved), _inputs(cfg)
    changes = [f"{key}: {text}" for key, text in _changes(before, now).items()]
    if list(before) != list(now) and not changes:
        changes = [f"order: {', '.join(before)} -> {', '.join(now)}"]
    if not changes:
        return
    if len(changes) > SHOWN:
        changes[SHOWN:] = [f"and {len(changes) - SHOWN} more"]
    chosen = RunDir.open(path).info["groups"].get("env/observation", "(unknown)")
    raise WarmStartError(
        path,
        "its policy reads other observations (there -> here):\n  "
        + "\n  ".join(changes)
        + f"\nThat run had env/observation={chosen} {SEEN}="
        + f"{str(before.get(SEEN, ABSENT)).lower()}",
    )


def _inputs(cfg: DictConfig) -> dict[str, Any]:
    """What the learner sees: scales by dotted key, in the order of the vector."""
    values = _that_matter(cfg)
    return {key: value for key, value in values.items() if key.startswith(INPUTS)}


def _left_behind(model: BaseAlgorithm, std: float | None) -> list[str]:
    """What the earlier training had and this one begins anew."""
    learner: Any = model
    names = ["optimizers"]
    if getattr(learner, "replay_buffer", None) is not None:
        names.append("replay buffer")
    if getattr(learner, "ent_coef_optimizer", None) is not None:
        names.append("entropy coefficient")
    if std is not None:
        names.append(f"exploration (residual.exploration_std={std})")
    return names


def _differences(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """One line per group; many keys of one are only counted."""
    changes = _changes(before, now)
    found = []
    for group in GROUPS:
        own = {k: text for k, text in changes.items() if k.partition(".")[0] == group}
        lines = [f"{key}: {text}" for key, text in own.items() if key not in MOOT]
        if len(lines) > SHOWN:
            lines = [f"{group}: {len(lines)} keys{_classes(group, before, now)}"]
        found += lines
    return found


def _classes(group: str, before: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    """Which class gave way to which, if one did."""
    key = f"{group}._target_"
    there, here = (str(v.get(key, ABSENT)).rpartition(".")[2] for v in (before, now))
    return "" if there == here else f", {there} -> {here}"
