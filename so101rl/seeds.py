"""Seeds by role: episodes that report a result never train, tune or select a policy."""

ROLES = ("train", "select", "tune", "report")
_ROLE_BITS, _ROOT_BITS = 60, 28
MAX_EPISODES = 2**_ROOT_BITS
TUNING_FROM = 2**31  # root seeds from here on are for tuning
MOST_TUNING = 100  # runs of one trial


def episode_seeds(root: int, role: str, n: int, first: int = 0) -> list[int]:
    """Seeds of `n` episodes; no two roles or roots ever share one.

    The role stands in the highest bits, then the root, then the episode's number.

    Args:
        root: the run's seed, below 2**32.
        role: one of `ROLES`.
        n: how many.
        first: number of the first episode.
    """
    if first + n > MAX_EPISODES:
        raise ValueError(f"a role has {MAX_EPISODES} episodes, asked for {first + n}")
    start = (ROLES.index(role) + 1 << _ROLE_BITS) + (root << _ROOT_BITS) + first
    return list(range(start, start + n))


def tuning_roots(root: int, n: int) -> list[int]:
    """Root seeds of the runs that tune settings; no report may use one.

    Args:
        root: the sweep's seed.
        n: runs of a trial.

    Raises:
        ValueError: there are not so many.
    """
    first = TUNING_FROM + root * MOST_TUNING
    if n > MOST_TUNING or first + n > 2**32:
        raise ValueError(
            f"{n} tuning seeds from root {root}; right are at most {MOST_TUNING}, from "
            f"a root below {(2**32 - TUNING_FROM) // MOST_TUNING}"
        )
    return list(range(first, first + n))


def first_seeds(root: int) -> dict[str, int]:
    """The first seed of every role."""
    return {role: episode_seeds(root, role, 1)[0] for role in ROLES}
