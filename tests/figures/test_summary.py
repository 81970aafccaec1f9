"""The summary figure of one run."""

import pytest
from made_up import N, episodes, make_run, write_episodes
from matplotlib.figure import Figure

from so101rl.figures.style import FigureError
from so101rl.figures.summary import _draw_failures, _mark_kept, figure_summary
from so101rl.runs.metrics import policy_scores


def test_summary_figure_is_reproducible_and_needs_no_training(tmp_path):
    run = make_run(tmp_path / "run")
    path = figure_summary(run)
    assert path == tmp_path / "run" / "figures" / "summary.png"
    first = path.read_bytes()
    assert first.startswith(b"\x89PNG")
    assert figure_summary(run).read_bytes() == first
    (run.path / "metrics.jsonl").unlink()
    write_episodes(run.path, {"base": episodes("base", N)})
    assert figure_summary(run).read_bytes() not in (first, b"")
    (run.path / "evaluation.json").unlink()
    with pytest.raises(FigureError, match=r"no evaluation\.json"):
        figure_summary(run)


def test_summary_figure_rings_the_policy_that_was_kept():
    """Of two scores at its step, the last counts: that is the one that was saved."""
    axes = Figure().subplots()
    points = [(0, 0.4), (64, 0.8), (64, 0.9), (128, 0.7)]
    lines = [{"step": step, "eval/success_rate": rate} for step, rate in points]
    _mark_kept(axes, lines, 64)
    (ring,) = axes.lines
    assert ring.get_xydata().tolist() == [[64, 90]]


def test_every_end_of_an_episode_is_drawn():
    """Successes are no failure class, and still part of how episodes end."""
    axes = Figure().subplots()
    policies = {"base": episodes("base", 6), "residual": episodes("residual", N)}
    scores = {p: policy_scores(rows, root=0, role="x") for p, rows in policies.items()}
    _draw_failures(axes, scores)
    tops = {bar.get_x(): bar.get_y() + bar.get_height() for bar in axes.patches}
    assert [round(top) for top in tops.values()] == [100, 100]
