"""Episode seeds by role, so that no reported episode trains, tunes or selects."""

ROLES = ("train", "select", "tune", "report")
_ROLE_BITS, _ROOT_BITS = 60, 28
MAX_EPISODES = 2**_ROOT_BITS
TUNING_FROM = 2**31  # the first root seed for tuning
MOST_TUNING = 100  # runs of one trial


def episode_seeds(root: int, role: str, n: int, first: int = 0) -> list[int]:
    """Return the seeds of `n` episodes; two roles or roots never share one.

    The highest bits are the role, then the root, then the number of the episode.

    Args:
        root: The run's seed, below 2**32.
        role: One of `ROLES`.
        n: How many episodes.
        first: Number of the first episode.

    Raises:
        ValueError: If a role has fewer episodes.
    """
    if first + n > MAX_EPISODES:
        raise ValueError(f"a role has {MAX_EPISODES} episodes, asked for {first + n}")
    start = (ROLES.index(role) + 1 << _ROLE_BITS) + (root << _ROOT_BITS) + first
    return list(range(start, start + n))


def tuning_roots(root: int, n: int) -> list[int]:
    """Return root seeds for the `n` runs of a trial; no reported run has one of them.

    Args:
        root: The sweep's seed.
        n: Runs of a trial.

    Raises:
        ValueError: If there are fewer such seeds.
    """
    first = TUNING_FROM + root * MOST_TUNING
    if n > MOST_TUNING or first + n > 2**32:
        raise ValueError(
            f"{n} tuning seeds from root {root}: expected at most {MOST_TUNING}, from "
            f"a root below {(2**32 - TUNING_FROM) // MOST_TUNING}"
        )
    return list(range(first, first + n))


def first_seeds(root: int) -> dict[str, int]:
    """Return the first episode seed of every role."""
    return {role: episode_seeds(root, role, 1)[0] for role in ROLES}
