"""Symptoms of the residual: too weak, too strong, unused, clipped."""

from omegaconf import DictConfig

from so101rl.diagnosis.facts import Facts
from so101rl.diagnosis.finding import Finding
from so101rl.diagnosis.verdict import base_comparison
from so101rl.statistics import BASE


def penalty_dominates(facts: Facts, limits: DictConfig) -> Finding | None:
    """The penalty outweighs the other reward terms."""
    lines = [line for line in facts.lines if "reward/residual" in line]
    cost = sum(abs(line["reward/residual"]) for line in lines)
    task = sum(
        abs(value)
        for line in lines
        for name, value in line.items()
        if name.startswith("reward/") and name != "reward/residual"
    )
    if task == 0 or cost / task < limits.ratio:
        return None
    return Finding(
        f"the penalty is {cost / task:.2g} times all task terms of the reward together",
        "The reward favours a residual of zero over solving the task.",
        measured=limits.aim * task / cost,
    )


def residual_off(facts: Facts, limits: DictConfig) -> Finding | None:
    """Alpha is zero."""
    if facts.alpha != 0:
        return None
    return Finding(
        "alpha is 0",
        "The residual has no effect: both evaluated policies are the base policy.",
    )


def little_authority(facts: Facts, limits: DictConfig) -> Finding | None:
    """Alpha is small, and the base alone is as good."""
    pair = base_comparison(facts)
    if pair is None or pair.is_better(limits.significance):
        return None
    if not facts.alpha or facts.alpha > limits.alpha:
        return None
    return Finding(
        f"alpha is {facts.alpha:g}, and the residual is no better than the base alone",
        "The residual may be too small to correct the errors of the base.",
    )


def residual_saturated(facts: Facts, limits: DictConfig) -> Finding | None:
    """The residual is close to its largest size most of the time."""
    size = facts.size()
    if size is None or size[0] < limits.share:
        return None
    return Finding(
        f"|alpha * residual| is {size[0]:.0%} of its maximum ({size[1]})",
        "The residual is near its maximum in most states and overrides the base.",
    )


def residual_unused(facts: Facts, limits: DictConfig) -> Finding | None:
    """The residual is close to zero."""
    size = facts.size()
    if not facts.alpha or size is None or size[0] > limits.share:
        return None
    return Finding(
        f"|alpha * residual| is {size[0]:.1%} of its maximum ({size[1]})",
        "Corrections cost more penalty than they gain reward, or nothing was learned.",
    )


def actions_clipped(facts: Facts, limits: DictConfig) -> Finding | None:
    """The sum of base and residual is often clipped."""
    clipped = facts.clipped()
    if clipped is None or clipped[0] < limits.share:
        return None
    return Finding(
        f"{clipped[0]:.0%} of the actions are clipped to [-1, 1] ({clipped[1]})",
        "Base and residual together need larger steps than env.act_scale allows.",
    )


def worse_than_base(facts: Facts, limits: DictConfig) -> Finding | None:
    """The base solves more of the same episodes."""
    pair = base_comparison(facts)
    if pair is None or not pair.is_worse(limits.significance):
        return None
    base = facts.success(BASE)
    return Finding(
        f"the base solves {base:.0%}; of the same episodes, the residual fails "
        f"{pair.lost} that the base solves and solves {pair.won} that it fails",
        "The residual makes a working base worse.",
    )
