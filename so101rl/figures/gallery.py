"""All figures of one run."""

from pathlib import Path

from so101rl.figures.failures import figure_failures
from so101rl.figures.held_out import read_failures
from so101rl.figures.residual import figure_residual
from so101rl.figures.starts import figure_starts
from so101rl.figures.summary import figure_summary
from so101rl.figures.trajectories import figure_trajectories
from so101rl.runs.run_dir import RunDir


def draw_all(run: RunDir) -> list[Path]:
    """Draw all figures of an evaluated run; returns the files.

    Without episodes of the residual, the figures of the residual are left out.
    """
    drawn = [figure_summary(run), figure_trajectories(run), figure_starts(run)]
    if "residual" in read_failures(run):
        drawn += [figure_residual(run), figure_failures(run)]
    return drawn
