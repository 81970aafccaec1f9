"""Sweeps through launchers of Hydra's: joblib here, for it needs no cluster.

Its workers import the program anew, so that the trainings are real ones, and tiny.
"""

import pytest
from conftest import SHORT
from sweeping import Lab

from so101rl.sweeps.search.storage import sqlite_url

pytest.importorskip("hydra_plugins.hydra_joblib_launcher")
JOBLIB = ("hydra/launcher=joblib", "hydra.launcher.n_jobs=2")


@pytest.fixture
def lab(tmp_path, monkeypatch, capsys):
    return Lab(tmp_path, monkeypatch, capsys)


def run(lab, *typed):
    """Run a sweep to its end as a process, which joblib's workers have to import."""
    code = lab.start(*SHORT, *JOBLIB, *typed).wait(300)
    return code, (lab.home / "said").read_text()


@pytest.mark.slow
def test_jobs_run_through_joblib_and_only_once(lab):
    code, said = run(lab, "seed=0,1,2")
    assert code == 0, said
    infos = [lab.run_of(name).info for name in ("0", "1", "2")]
    assert {info["status"] for info in infos} == {"finished"}
    assert [info["seed"] for info in infos] == [0, 1, 2]
    code, said = run(lab, "seed=0,1,2")
    assert code == 0, said
    assert [lab.run_of(name).info for name in ("0", "1", "2")] == infos


@pytest.mark.slow
def test_a_search_runs_through_joblib_and_goes_on(lab):
    import optuna

    words = ("sweep=residual", "hydra.sweeper.seeds=2")
    for n_trials in (2, 3):
        code, said = run(lab, *words, f"hydra.sweeper.n_trials={n_trials}")
        assert code == 0, said
        url = sqlite_url(lab.folder / "study.db")
        study = optuna.load_study(study_name="residual", storage=url)
        assert [one.state.name for one in study.trials] == ["COMPLETE"] * n_trials
    assert len(lab.runs()) == 6

    # Another study in the same folder does not take these runs for its own.
    other = ("hydra.sweeper.study_name=other", "hydra.sweeper.n_trials=1")
    code, said = run(lab, *words, *other)
    assert code == 2
    assert "holds a run that the study does not know" in said
