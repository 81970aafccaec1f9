"""Symptoms of the success curve and of the speed of a training."""

from statistics import fmean

from omegaconf import DictConfig

from so101rl.diagnosis.facts import ROLLOUT, SELECT, Facts
from so101rl.diagnosis.finding import Finding
from so101rl.statistics import wilson


def nothing_solved(facts: Facts, limits: DictConfig) -> Finding | None:
    """Not one episode was ever solved."""
    rates = facts.points(SELECT) + facts.points(ROLLOUT)
    if not facts.steps or not rates or max(rates) > 0:
        return None
    return Finding(
        f"not one solved episode in {facts.steps:,} env steps",
        "It needs a base that succeeds sometimes, or a reward that leads to success.",
    )


def fell_back(facts: Facts, limits: DictConfig) -> Finding | None:
    """Success fell after its best."""
    rates = facts.select_rates()
    if not rates:
        return None
    best, last = max(rates), fmean(rates[-max(1, len(rates) // 3) :])
    n = facts.values["evaluation.select_episodes"]
    # The best of many noisy rates is above their mean even if nothing was lost.
    apart = wilson(round(last * n), n)[1] < wilson(round(best * n), n)[0]
    if best - last < limits.drop or not apart:
        return None
    return Finding(
        f"select episodes: {best:.0%} at best, {last:.0%} at the end",
        "The policy became worse again. The best checkpoint is evaluated.",
    )


def still_rising(facts: Facts, limits: DictConfig) -> Finding | None:
    """Success was still rising at the end."""
    rates = facts.select_rates()
    if not rates:
        return None
    third = max(1, len(rates) // 3)
    before, last = fmean(rates[-2 * third : -third]), fmean(rates[-third:])
    if last - before < limits.rise or last > limits.done:
        return None
    return Finding(
        f"select episodes: {before:.0%} in the middle, {last:.0%} at the end",
        "Success was still rising when the training ended.",
    )


def flat(facts: Facts, limits: DictConfig) -> Finding | None:
    """Success did not change."""
    rates = facts.select_rates()
    if not rates or max(rates) == 0:
        return None  # that is nothing_solved
    third = max(1, len(rates) // 3)
    first, last = fmean(rates[:third]), fmean(rates[-third:])
    if abs(last - first) > limits.rise or fmean(rates) > limits.done:
        return None
    return Finding(
        f"select episodes: {first:.0%} at first, {last:.0%} at the end",
        "Reward, exploration or alpha may limit the success.",
    )


def too_short(facts: Facts, limits: DictConfig) -> Finding | None:
    """The training had far fewer env steps than conf/algo has."""
    asked, usual = (
        facts.values.get(key) for key in ("total_timesteps", "algo.total_timesteps")
    )
    if not facts.steps or not usual or asked >= limits.share * usual:
        return None
    return Finding(
        f"{asked:,} env steps; conf/algo has {usual:,}",
        "The training is shorter than the algorithm usually needs.",
    )


def noise_gap(facts: Facts, limits: DictConfig) -> Finding | None:
    """Success with exploration noise differs much from success without."""
    noisy, quiet = facts.late(ROLLOUT), facts.late(SELECT)
    if noisy is None or quiet is None or abs(noisy - quiet) < limits.gap:
        return None
    return Finding(
        f"rollouts {noisy:.0%}, the same policy without noise {quiet:.0%}",
        "The policy needs the exploration noise and fails without it."
        if noisy > quiet
        else "The noise makes a good policy fail, so its data are mostly failures.",
    )


def slow(facts: Facts, limits: DictConfig) -> Finding | None:
    """The training had few env steps per second."""
    if facts.fps is None or facts.fps > limits.fps:
        return None
    return Finding(
        f"{facts.fps:,.0f} env steps per second (median)",
        "Updates take most of the time, or the machine was busy.",
    )
