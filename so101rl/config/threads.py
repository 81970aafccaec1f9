"""How many threads to use."""

import os


def n_threads(wanted: int | None) -> int:
    """Return `wanted`; if it is None, the number of cores that this process may use.

    CPU affinity counts, so a job confined to some cores starts no more threads.
    """
    if wanted is not None:
        return wanted
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
