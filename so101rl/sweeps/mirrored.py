"""A sweep in the eyes of its trackers."""

import contextlib
from collections.abc import Callable, Iterator

from so101rl.runs.sweep_dir import SweepDir
from so101rl.sweeps.context import ALL, SweepContext
from so101rl.tracking.base import followed


@contextlib.contextmanager
def mirrored(
    call: SweepContext, sweep: SweepDir, conclude: Callable[[], None]
) -> Iterator[None]:
    """Let trackers follow a sweep while the block works on it.

    Args:
        call: what was typed.
        sweep: its folder, locked and defined.
        conclude: writes down what was found, however the block ends.
    """
    chosen = call.config.hydra.runtime.choices
    groups = {
        str(group): option
        for group, option in chosen.items()
        if option is not None and not str(group).startswith("hydra/")
    }
    plain = None if chosen.sweep == ALL else "trial"
    group = plain if call.config.study is None else "arm"
    tracking = call.config.tracking
    with followed(sweep, tracking, name=call.name, groups=groups, group=group):
        try:
            yield
        finally:
            conclude()
