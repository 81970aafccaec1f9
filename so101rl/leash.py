"""A job of a sweep ends with its sweep, however that ends.

The sweep holds the writing end of a pipe and never writes. Its death, kill -9 included,
closes the pipe, which the job's thread notices: the job then ends as by SIGTERM, with a
checkpoint.
"""

import os
import signal
import threading

VARIABLE = "SO101RL_LEASH"  # the number of the pipe's reading end


def hold() -> None:
    """Follow the sweep that started this process, if one did."""
    number = os.environ.pop(VARIABLE, None)  # not for the processes of this one
    if number is not None:
        threading.Thread(target=_follow, args=(int(number),), daemon=True).start()


def _follow(number: int) -> None:
    os.read(number, 1)
    os.kill(os.getpid(), signal.SIGTERM)
