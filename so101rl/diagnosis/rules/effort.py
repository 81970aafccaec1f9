"""Symptoms of the residual itself: too weak, too strong, unused, cut off."""

from omegaconf import DictConfig

from so101rl.diagnosis.facts import Facts
from so101rl.diagnosis.finding import Finding
from so101rl.diagnosis.verdict import compared
from so101rl.statistics import BASE, RESIDUAL


def penalty_dominates(facts: Facts, limits: DictConfig) -> Finding | None:
    """The reward is mostly about keeping the residual small."""
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
        f"the penalty weighs {cost / task:.2g} times what all terms of the task weigh",
        "The learner is paid for doing nothing, not for the task.",
        measured=limits.aim * task / cost,
    )


def residual_off(facts: Facts, limits: DictConfig) -> Finding | None:
    """Alpha is zero."""
    if facts.alpha != 0:
        return None
    return Finding(
        "alpha is 0",
        "The residual has no say: what was judged is the base policy, twice.",
    )


def little_authority(facts: Facts, limits: DictConfig) -> Finding | None:
    """Alpha is small, and the base does as well alone."""
    pair = compared(facts)
    if pair is None or pair.is_better(limits.significance):
        return None
    if not facts.alpha or facts.alpha > limits.alpha:
        return None
    return Finding(
        f"alpha {facts.alpha:g}, and no more solved than by the base alone",
        "The residual may not add enough to undo what the base does wrong.",
    )


def residual_saturated(facts: Facts, limits: DictConfig) -> Finding | None:
    """All joints of the residual stand at a limit most of the time."""
    size = facts.size()
    if size is None or size[0] < limits.share:
        return None
    return Finding(
        f"|alpha * residual| is {size[0]:.0%} of its largest ({size[1]})",
        "It pushes as hard as it may, whatever it sees, and drowns the base.",
    )


def residual_unused(facts: Facts, limits: DictConfig) -> Finding | None:
    """The residual hardly does anything."""
    size = facts.size()
    if not facts.alpha or size is None or size[0] > limits.share:
        return None
    return Finding(
        f"|alpha * residual| is {size[0]:.1%} of its largest ({size[1]})",
        "A correction costs more penalty than it brings, or nothing was learned.",
    )


def actions_clipped(facts: Facts, limits: DictConfig) -> Finding | None:
    """Base and residual ask for more than an action can be."""
    if RESIDUAL in facts.effort and facts.policy_step:
        share, where = facts.effort[RESIDUAL].clipped, "without noise"
    else:
        late = facts.late("residual/clipped")
        if late is None:
            return None
        share, where = late, "in training, noise included"
    if share < limits.share:
        return None
    return Finding(
        f"{share:.0%} of the joint actions are cut off at 1 ({where})",
        "Base and residual want longer steps than env.act_scale lets them take.",
    )


def worse_than_base(facts: Facts, limits: DictConfig) -> Finding | None:
    """The residual loses episodes that the base solves."""
    pair = compared(facts)
    if pair is None or not pair.is_worse(limits.significance):
        return None
    base = facts.success(BASE)
    return Finding(
        f"of the same episodes it lost {pair.lost} that the base solves ({base:.0%}) "
        f"and won {pair.won}",
        "The residual disturbs a base that works.",
    )


RULES = (
    residual_off,
    penalty_dominates,
    little_authority,
    residual_saturated,
    residual_unused,
    actions_clipped,
    worse_than_base,
)
