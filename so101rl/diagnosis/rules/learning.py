"""Symptoms of the updates: their size, exploration, value network."""

from statistics import fmean

from omegaconf import DictConfig

from so101rl.diagnosis.facts import Facts
from so101rl.diagnosis.finding import Finding

KL, CLIP = "train/approx_kl", "train/clip_fraction"
STD, ENTROPY, CRITIC = "train/std", "train/ent_coef", "train/critic_loss"
VARIANCE, VALUE = "train/explained_variance", "train/value_loss"


def diverged(facts: Facts, limits: DictConfig) -> Finding | None:
    """The training ended because a number was not finite."""
    error = facts.info["error"]
    if error is None or error["kind"] != "diverged":
        return None
    hint = error["message"].partition("\n")[2]
    return Finding(
        "the training ended in NaN or infinity",
        f"Values or losses grew without bound. {hint}".strip(),
    )


def unstable_updates(facts: Facts, limits: DictConfig) -> Finding | None:
    """Updates change the policy too much."""
    kl, clip = facts.points(KL), facts.points(CLIP)
    if not kl and not clip:
        return None
    worst, mean = max(kl, default=0.0), fmean(clip or [0.0])
    if worst < limits.kl and mean < limits.clip_fraction:
        return None
    return Finding(
        f"approx_kl up to {worst:.2g}, clip_fraction {mean:.0%} on average",
        "Updates change the policy more than its data supports; skills are lost.",
    )


def critic_grows(facts: Facts, limits: DictConfig) -> Finding | None:
    """The loss of an off-policy critic grows."""
    early, late = facts.early(CRITIC), facts.late(CRITIC)
    if early is None or late is None or late < limits.factor * early:
        return None
    return Finding(
        f"critic_loss from {early:.2g} to {late:.2g}",
        "The critic learns from its own growing errors, and the policy from them.",
    )


def exploration_lost(facts: Facts, limits: DictConfig) -> Finding | None:
    """The exploration noise is almost zero."""
    for metric, least in ((STD, limits.std), (ENTROPY, limits.ent_coef)):
        late = facts.late(metric)
        if late is not None and late < least:
            return Finding(
                f"{metric.removeprefix('train/')} fell to {late:.2g}",
                "With almost no noise, the policy tries nothing new.",
            )
    return None


def exploration_stays(facts: Facts, limits: DictConfig) -> Finding | None:
    """The exploration noise does not shrink."""
    early, late = facts.early(STD), facts.late(STD)
    if early is None or late is None or late < limits.ratio * early:
        return None
    return Finding(
        f"std from {early:.2f} to {late:.2f}",
        "The policy is trained with much noise, but evaluated without.",
    )


def value_poor(facts: Facts, limits: DictConfig) -> Finding | None:
    """The value network hardly predicts the returns."""
    variance, loss = facts.late(VARIANCE), facts.late(VALUE)
    if variance is None or loss is None or variance > limits.explained_variance:
        return None
    return Finding(
        f"explained_variance {variance:.2f}, value_loss {loss:.2g} at the end",
        "Good actions cannot be told from lucky ones: returns are hardly predicted.",
    )
