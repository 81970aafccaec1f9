"""Sweeps through launchers of Hydra's: joblib here, because it needs no cluster.

Its workers import the program anew, so that the trainings are real ones, and tiny.
"""

import optuna
import pytest
from conftest import SHORT
from sweeping import Lab

from so101rl.sweeps.search.storage import sqlite_url

pytest.importorskip("hydra_plugins.hydra_joblib_launcher")


@pytest.mark.slow
def test_jobs_and_searches_run_through_joblib_and_go_on(tmp_path, monkeypatch, capsys):
    lab = Lab(tmp_path, monkeypatch, capsys)

    def run(*typed):
        words = (*SHORT, "hydra/launcher=joblib", "hydra.launcher.n_jobs=2", *typed)
        return lab.start(*words).wait(300), (lab.home / "said").read_text()

    infos = []
    for _ in range(2):  # the second call has nothing to run
        code, text = run("seed=0,1")
        assert code == 0, text
        infos.append([lab.run_of(name).info for name in ("0", "1")])
    assert infos[0] == infos[1]
    assert {info["status"] for info in infos[0]} == {"finished"}
    assert [info["seed"] for info in infos[0]] == [0, 1]

    lab.folder = lab.home / "search"
    words = ("sweep=residual", "hydra.sweeper.seeds=2")
    for n_trials in (2, 3):
        code, text = run(*words, f"hydra.sweeper.n_trials={n_trials}")
        assert code == 0, text
        url = sqlite_url(lab.folder / "study.db")
        study = optuna.load_study(study_name="residual", storage=url)
        assert [one.state.name for one in study.trials] == ["COMPLETE"] * n_trials
    assert len(lab.runs()) == 6
