"""Trackers mirror the run directory and read nothing else."""

from so101rl.tracking.base import Mirror, Tracker, TrackerError, make_mirror

__all__ = ["Mirror", "Tracker", "TrackerError", "make_mirror"]
