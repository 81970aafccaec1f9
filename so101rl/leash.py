"""A job of a sweep ends with its sweep, however that ends.

The sweep holds the writing end of a pipe and never writes. Its death, kill -9 included,
closes the pipe, which the job's thread notices: the job then ends as by SIGTERM, with a
checkpoint, and by SIGKILL if that takes too long.
"""

import os
import select
import signal
import threading
import time

VARIABLE = "SO101RL_LEASH"  # the number of the pipe's reading end
PATIENCE_S = 15.0  # for a job to save before it is shot [s]


def hold() -> None:
    """Follow the sweep that started this process, if one did."""
    number = os.environ.pop(VARIABLE, None)  # not for the processes of this one
    if number is None:
        return
    pipe = int(number)
    if select.select([pipe], [], [], 0)[0]:  # gone already: nothing may begin
        os.kill(os.getpid(), signal.SIGTERM)
    threading.Thread(target=_follow, args=(pipe,), daemon=True).start()


def _follow(pipe: int) -> None:
    os.read(pipe, 1)
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(PATIENCE_S)
    os.kill(os.getpid(), signal.SIGKILL)
