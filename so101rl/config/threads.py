"""How many threads to use."""

import os


def n_threads(wanted: int | None) -> int:
    """Return `wanted`, or the number of cores that this process may use if it is None.

    The number respects CPU affinity, so a process confined to four cores gets four.
    """
    if wanted is not None:
        return wanted
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
