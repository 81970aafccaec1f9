"""How many threads to use."""

import os


def n_threads(wanted: int | None) -> int:
    """`wanted`, or with None as many as this process may run on.

    Respects CPU affinity, so a job confined to some cores does not start more.
    """
    if wanted is not None:
        return wanted
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
