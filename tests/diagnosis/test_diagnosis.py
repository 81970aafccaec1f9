"""`job=explain`: every symptom is found where it is, and its advice can be typed."""

import json
import re
from dataclasses import replace
from pathlib import Path

import made_up
import numpy as np
import pytest
from conftest import ROOT, config_of
from tasks import CUBE, PUSH, content

from so101rl.config.compose import compose
from so101rl.config.schema import RANGES, settings
from so101rl.diagnosis.advice import changes, command
from so101rl.diagnosis.facts import Effort, Elsewhere, Facts, read_facts
from so101rl.diagnosis.symptoms import CLASS, RULES, symptoms
from so101rl.diagnosis.text import explanation
from so101rl.diagnosis.verdict import base_comparison, judge
from so101rl.errors import ConfigError
from so101rl.figures.diagnosis import figure_diagnosis
from so101rl.jobs.explain import explain
from so101rl.runs.run_dir import RunDir
from so101rl.runs.trajectories import Trajectory, write_trajectories

JOB = config_of("job=explain").job
PAGE = (ROOT / "docs" / "tuning.md").read_text()
N = 100
PPO = {
    **{"residual/l2": 1.0, "residual/alpha": 1.0, "residual/share": 0.4},
    **{"residual/clipped": 0.2, "reward/progress": 0.02, "reward/residual": -0.0002},
    **{"train/approx_kl": 0.04, "train/clip_fraction": 0.2, "train/value_loss": 0.1},
    **{"train/explained_variance": 0.9, "rollout/episodes": 200.0},
}
RATES = (0.75, 0.6, 0.7, 0.8, 0.9, 1.0, 0.98, 1.0)


def rows(policy, solved, failure="wrong_yaw"):
    own = {"final_distance_m": 0.004, "final_yaw_error_rad": 0.2, "failure": failure}
    return [
        row | {"seed": row["episode"]} | (own if not row["is_success"] else {})
        for row in made_up.episodes(policy, solved, N)
    ]


def scores(solved, failure="wrong_yaw", n=N):
    failures = {failure: N - solved} if solved < N else {}
    return {"success_rate": solved / N, "n_episodes": n, "failures": failures}


def lines(rates=RATES, **metrics):
    """Log lines of a good training; a metric may be one number or one per line."""
    found = []
    for i, rate in enumerate(rates):
        line = {"step": 20_000 * (i + 1), **PPO, "train/std": 0.5 - 0.03 * i}
        line |= {"rollout/success_rate": rate, "eval/success_rate": rate}
        for name, value in metrics.items():
            own = value[i] if isinstance(value, tuple) else value
            line[name.replace("__", "/")] = own
        found.append({key: value for key, value in line.items() if value is not None})
    return found


def a_run(*typed, base=75, residual=99, failure="wrong_yaw", **known):
    """Facts of a run without any symptom, except for what is typed and known."""
    groups = {"env": "paper_push", "base_policy": "jacobian", "algo": "ppo"}
    groups |= {"randomization": "default"}
    groups |= dict(word.split("=") for word in typed if word.split("=")[0] in groups)
    info = {"name": "some-run", "seed": 0, "status": "finished", "error": None}
    own = ("residual", residual, failure)
    good = {
        **{"path": Path("run"), "info": {**info, "groups": groups}},
        **{"task": PUSH, "values": settings(config_of(*typed)), "typed": list(typed)},
        **{"lines": lines(), "fps": 5000.0, "few": JOB.few},
        **{"scores": {"base": scores(base), "residual": scores(residual, failure)}},
        **{"rows": {"base": rows("base", base), "residual": rows(*own)}},
        **{"policy_step": 160_000, "judged_alpha": None, "elsewhere": []},
        "effort": {"residual": Effort(0.4, 0.2)},
    }
    return Facts(**good | known)


def names(facts):
    return [symptom.name for symptom in symptoms(facts, JOB.symptoms)]


def explained(facts):
    return explanation(facts, symptoms(facts, JOB.symptoms), JOB)


def ended(status, kind):
    error = kind and {"kind": kind, "class": "Error", "message": "it is over"}
    return {**a_run().info, "status": status, "error": error}


def off_policy(**metrics):
    """Log lines of SAC, which has no KL, noise or explained variance."""
    gone = [name.replace("/", "__") for name in PPO if name.startswith("train/")]
    return lines(train__std=None, **dict.fromkeys(gone), **metrics)


SICK = {
    "diverged": a_run(info=ended("failed", "diverged")),
    "residual_off": a_run("residual.alpha=0"),
    "penalty_dominates": a_run(lines=lines(reward__residual=-0.05)),
    "unstable_updates": a_run(lines=lines(train__approx_kl=0.9)),
    "critic_grows": a_run(lines=lines(train__critic_loss=(1, 1, 1, 2, 5, 20, 50, 100))),
    "residual_saturated": a_run(effort={"residual": Effort(0.95, 0.2)}),
    "worse_than_base": a_run(base=90, residual=60),
    "little_authority": a_run("residual.alpha=0.1", residual=76),
    "residual_unused": a_run(effort={"residual": Effort(0.01, 0.0)}),
    "actions_clipped": a_run(effort={"residual": Effort(0.4, 0.6)}),
    "nothing_solved": a_run(residual=0, lines=lines([0.0] * 8)),
    "fell_back": a_run(lines=lines((0.7, 0.9, 0.9, 0.5, 0.4, 0.3))),
    "still_rising": a_run(lines=lines((0.2, 0.2, 0.4, 0.4, 0.6, 0.7))),
    "exploration_lost": a_run(lines=lines(train__std=0.01)),
    "exploration_stays": a_run(lines=lines(train__std=0.9)),
    "value_poor": a_run(lines=lines(train__explained_variance=0.1)),
    "flat": a_run(lines=lines([0.4] * 8)),
    "too_short": a_run("total_timesteps=1000"),
    "noise_gap": a_run(lines=lines(rollout__success_rate=0.3)),
    "selection_luck": a_run(residual=70),
    "worse_elsewhere": a_run(elsewhere=[Elsewhere("randomization", 40, 100)]),
    "not_randomized": a_run("randomization=none"),
    "base_solves": a_run(base=99),
    "slow": a_run(fps=50.0),
    **{name: a_run(base=10, residual=60, failure=name) for name in PUSH.failures},
}


def test_every_symptom_is_found_where_it_is():
    assert set(SICK) == {*RULES, *PUSH.failures} == set(JOB.symptoms) - {CLASS}
    for name, facts in SICK.items():
        assert name in names(facts)


def test_another_task_has_its_own_failures_and_only_advice_that_it_can_take():
    """Its config has neither the options nor the keys of `paper_push`."""
    for failure in CUBE.failures:
        own = {"failure": failure, "final_gap_m": 0.0123}
        fails = [row | own for row in rows("residual", 40) if not row["is_success"]]
        facts = a_run(
            *("base_policy=zero", "randomization=none"),
            **{"task": CUBE, "lines": lines([0.0] * 8), "rows": {"residual": fails}},
            scores={"residual": scores(40, failure)},
        )
        facts.values["env._target_"] = "cubes.Cube"
        gone = "env.reward.", "base_policy."
        values = {k: v for k, v in facts.values.items() if not k.startswith(gone)}
        found = symptoms(replace(facts, values=values), JOB.symptoms)
        shown = {symptom.name: symptom.finding for symptom in found}
        assert {"nothing_solved", "not_randomized", failure} <= set(shown)
        assert not set(PUSH.failures) & set(shown) - {failure}
        assert "; median gap 12.3 mm" in shown[failure].shows
        assert shown[failure].means == CUBE.failures[failure]
        keys = {change.key for symptom in found for change in symptom.changes}
        assert not {"base_policy", "randomization", "env"} & keys
        assert not any(key.startswith(gone) for key in keys)


SINK = (0.7, 0.1, *[0.0] * 6)
RISING = (0.7, 0.9, 1, 1, 2, 2, 2, 3)
NOISY = (0.75, 0.92, 0.75, 0.78, 0.76, 0.72, 0.74, 0.75)
BARE = {"scores": {}, "rows": {}, "effort": {}, "lines": [], "policy_step": None}


def test_the_cause_comes_before_what_follows_from_it():
    costly = lines(reward__residual=-20, train__approx_kl=0.8)
    for first, facts in {
        "unstable_updates": {"lines": lines(SINK, train__approx_kl=1e8)},
        "penalty_dominates": {"lines": costly},
        "exploration_stays": {"lines": lines([0.75] * 8, train__std=RISING)},
        "diverged": {"info": ended("failed", "diverged"), "scores": {}, "rows": {}},
    }.items():
        assert names(a_run(residual=60, **facts))[0] == first


def test_what_is_healthy_noisy_or_unknown_has_no_symptom():
    for facts in (
        a_run(),
        a_run(**BARE),
        a_run(**BARE | {"lines": lines(RATES[:2])}),
        a_run("algo=sac", lines=off_policy(train__ent_coef=0.01)),
    ):
        assert names(facts) == []
    lost = a_run("algo=sac", lines=off_policy(train__ent_coef=1e-7))
    assert names(lost) == ["exploration_lost"]
    few = a_run("evaluation.select_episodes=16", lines=lines(NOISY))
    last = a_run(lines=lines((0.7, 0.9, 0.9, 0.9, 0.9, 0.9, 0.9, 0.7)))
    assert "fell_back" not in names(few) + names(last)
    elsewhere = a_run(residual=90, elsewhere=[Elsewhere("randomization", 2, 3)])
    assert "worse_elsewhere" not in names(elsewhere)


def test_the_verdict_counts_the_doubt():
    for verdict, facts in (
        ("GOOD", {"residual": 95}),
        ("FAIR", {"residual": 90}),
        ("POOR", {"residual": 30, "base": 10}),
        ("POOR", {"residual": 70, "base": 99}),
        ("POOR", {"residual": 80, "policy_step": 0}),
        ("GOOD", {"base": 99, "policy_step": 0}),
        ("NOT JUDGED", BARE),
        ("UNSURE", {"scores": {"residual": scores(100, n=3)}, "rows": {}}),
        ("UNSURE", {"scores": {"residual": scores(50, n=10)}, "rows": {}}),
    ):
        assert judge(a_run(**facts), JOB) == verdict, facts


RESUME = "job=resume run=run"
WARM = {"policy_step": 0, "info": a_run().info | {"init_from": {"name": "a-run"}}}
STOPPED = " after 160,000 of 500,000 env steps"


@pytest.mark.parametrize(
    ("facts", "shown"),
    [
        (a_run(), ["GOOD: solves 99% [95, 100] of 100 held-out episodes, the base 75%",
                   "Nothing needs changing."]),
        (SICK["worse_elsewhere"], ["Also seen: worse_elsewhere (99% as trained, 40% "
                                   "with another randomization)."]),
        (a_run(**BARE), ["ended before its first log line"]),
        (a_run(residual=90, failure="lost_it"),
         ["FAIR: solves 90%", "No known symptom; what else may help"]),
        (a_run(**BARE | {"lines": lines(RATES[:2])}), ["no held-out episode was run"]),
        (a_run("job=evaluate", **BARE | {"scores": {"base": scores(75)},
                                         "rows": {"base": rows("base", 75)}}),
         ["wrong_yaw: 25 of 25", "on top of it: python main.py\n",
          "NOT TRAINED: the base 75% [66, 82] of 100 episodes"]),
        (a_run(scores={"residual": scores(50, n=10)}, rows={}),
         ["few for a verdict; run more: python main.py job=evaluate run=run"]),
        (a_run(**WARM), ["step 0, that of init_from was evaluated"]),
        (a_run(info=ended("killed", "stopped")), [f"KILLED{STOPPED} (stop", RESUME]),
        (a_run(info=ended("failed", "config")), [f"FAILED{STOPPED}", "the key"]),
        (a_run("algo.learning_rate=10", scores={}, info=ended("failed", "diverged")),
         [f"FAILED{STOPPED} (diverged): it is over", "main.py algo.learning_rate=1"]),
        (a_run(info=ended("running", None)), ["RUNNING", "a process still runs it"]),
    ],
)  # fmt: skip
def test_the_answer_says_what_is_known_and_what_to_do(facts, shown):
    answer = "\n".join(explained(facts))
    for text in shown:
        assert text in answer or text in answer.replace("\n", " ")


def test_the_answer_is_short_however_many_symptoms():
    sick = [found for own in SICK.values() for found in symptoms(own, JOB.symptoms)]
    everything = list({symptom.name: symptom for symptom in sick}.values())
    facts = a_run(residual=80, info=ended("killed", "stopped"))
    answer = explanation(facts, everything, JOB)
    assert len(answer) < JOB.lines  # one is left for the figure
    assert sum(everything[0].name in line for line in answer) == 1
    assert answer[-1].startswith("Next, one change at a time: python main.py ")


@pytest.mark.parametrize("algo", ["ppo", "sac", "td3"])
def test_all_advice_can_be_typed_and_built(algo):
    from so101rl.build import build_algo, build_env
    from so101rl.envs.wrappers.sb3_vec_env import SB3VecEnv

    base = "zero" if algo == "ppo" else "jacobian"
    typed = [f"algo={algo}", f"base_policy={base}", "residual.alpha=0.5"]
    facts, first = a_run(*typed, "total_timesteps=1000"), {}
    for own in JOB.symptoms.values():
        for change in changes(own["try"], facts, 0.1):
            first.setdefault(change.key, change.override)
            for number in np.ravel(change.new):
                low, high = RANGES.get(change.key, (-np.inf, np.inf))
                assert isinstance(number, str) or low <= number <= high
    swaps = {first.pop(key) for key in ("base_policy", "randomization") if key in first}
    assert len(first) > 8
    cfg = compose([*typed, "n_threads=1", *first.values()])
    build_algo(cfg, SB3VecEnv(build_env(cfg, 2)))
    if base == "zero":
        assert "base_policy=jacobian" in swaps
        compose(sorted(swaps))


@pytest.mark.parametrize(
    ("key", "how", "typed", "word"),
    [
        ("algo.learning_rate", {"times": 0.3}, (), "algo.learning_rate=0.0003"),
        ("algo.n_epochs", {"times": 0.5, "whole": True}, (), "algo.n_epochs=5"),
        ("algo.gamma", {"horizon": 2}, (), "algo.gamma=0.99"),
        ("algo.ent_coef", {"plus": -0.005, "most": 0.0}, ("algo.ent_coef=0.1",),
         "algo.ent_coef=0"),
        ("algo.policy_kwargs.net_arch", {"times": 2, "whole": True}, (),
         "algo.policy_kwargs.net_arch=[128,128]"),
        ("residual.alpha", {"times": 2}, ("residual.alpha=[0.1,0.2,0.3,0.4,0.5,0.6]",),
         "residual.alpha=[0.2,0.4,0.6,0.8,1,1]"),
        ("residual.alpha", {"times": 0.5}, ("residual.alpha=1",), "residual.alpha=0.5"),
        ("algo.batch_size", {"times": 2, "whole": True}, ("n_envs=16",), None),
        ("residual.penalty", {"times": "measured"}, (), "residual.penalty=5e-05"),
        ("base_policy", {"to": "zero"}, (), "base_policy=zero"),
        ("residual.alpha", {"times": 1.5}, (), None),  # cannot be more than 1
        ("env.act_scale", {"times": 1.5, "most": 0.1}, ("env.act_scale=0.2",), None),
        ("algo.clip_range", {"times": 0.5}, ("algo=sac",), None),  # it has no such key
        ("algo.ent_coef", {"plus": 0.005}, ("algo=sac",), None),  # auto
        ("base_policy", {"to": "jacobian"}, (), None),
    ],
)  # fmt: skip
def test_a_change_starts_from_the_runs_own_value(key, how, typed, word):
    found = changes({key: how}, a_run(*typed), 0.05)
    assert [change.override for change in found] == ([] if word is None else [word])


def test_the_command_is_the_runs_own_with_one_thing_changed():
    typed = ["algo=ppo", "algo.learning_rate=0.03", "residual.alpha=[1,1,1,1,1,0]"]
    facts = a_run(*typed, **{"typed": ["job=resume", "run=somewhere", *typed]})
    how = {"algo.learning_rate": {"times": 0.1}}
    [change] = changes(how, facts, None)
    kept = "algo=ppo 'residual.alpha=[1,1,1,1,1,0]'"
    assert command(facts, change) == f"python main.py {kept} algo.learning_rate=0.003"
    assert changes({"residual.penalty": {"times": "measured"}}, facts, None) == []
    untyped = a_run(**{"typed": None}, residual=0, lines=lines([0.0] * 8))
    change = explained(untyped)[-1].removeprefix("Next, one change at a time: ")
    assert "python" not in change and change.count("=") == 1


def write_run(path, *typed, rates=RATES):
    """A run directory as a training leaves it."""
    groups = a_run(*typed).info["groups"]
    run = RunDir.create(path, cfg=config_of(*typed), command="main.py", groups=groups)
    run.write_task(content(PUSH))
    (path / ".hydra" / "overrides.yaml").write_text(json.dumps(list(typed)))
    for line in lines(rates):
        run.log(line.pop("step"), line, {"time/fps": 4000.0})
    write_evaluation(run, 75, 99)
    run.finish("finished")
    return run


def write_evaluation(run, base, residual):
    policies = {"base": scores(base), "residual": scores(residual)}
    judged = {"policy_step": 160_000, "alpha": [1.0] * 6}
    run.write_evaluation({"policies": policies} | judged)
    run.write_episodes([*rows("base", base), *rows("residual", residual)])


def read(run):
    return read_facts(run.path, few=JOB.few, episodes=JOB.episodes)


def test_the_job_says_and_draws_and_touches_nothing_else(run_main, tmp_path):
    write_run(tmp_path / "run", "algo.learning_rate=0.002")
    before = set(tmp_path.rglob("*"))
    code, said, _ = run_main("job=explain", "run=run")
    assert code == 0 and "GOOD: solves 99%" in said.out, said.err
    folder = tmp_path / "run/figures"
    assert set(tmp_path.rglob("*")) - before == {folder, folder / "diagnosis.png"}
    with pytest.raises(ConfigError, match="run=null: expected a run directory, or la"):
        explain(config_of("job=explain"))
    (tmp_path / "run/task.json").unlink()
    code, said, _ = run_main("job=explain", "run=run")
    assert code == 2 and not said.out
    assert re.match(r"error: .* has no task\.json: .* before 0\.2;.*\n$", said.err)


def test_a_run_is_read_from_its_files(tmp_path):
    run = write_run(tmp_path / "run", "algo.learning_rate=0.002")
    few = {**PPO, "rollout/success_rate": 1.0, "rollout/episodes": 3.0}
    with (run.path / "metrics.jsonl").open("a") as file:
        file.write(json.dumps({"step": 170_000, **few}) + "\n")
    own = {"residual_l2": np.full(5, 6**0.5 / 2), "clipped": np.full(5, 0.25)}
    nothing = {"poses": {}, "numbers": {}, "tip": np.zeros((6, 3))}
    episode = Trajectory(**nothing, **own)
    write_trajectories(run.file("trajectories.npz"), {"residual": [episode] * N})
    others = []
    for rate, key in ((40, "algo.learning_rate=0.002"), (10, "residual.alpha=0.1")):
        cfg = config_of(key, "algo.learning_rate=0.002", "randomization=hard")
        typed = f"job=evaluate run=run randomization=hard tracking=none {key}"
        folder = run.path / f"evaluations/{len(others) + 1}"
        others.append(RunDir.create(folder, cfg=cfg, command=f"main.py {typed}"))
        others[-1].write_task(content(PUSH))
        write_evaluation(others[-1], 30, rate)
    facts = read(run)
    assert facts.typed == ["algo.learning_rate=0.002"]
    assert (facts.fps, facts.judged_alpha) == (4000.0, [1.0] * 6)
    assert facts.values["algo.learning_rate"] == 0.002
    effort = facts.effort["residual"]
    assert (effort.size, effort.clipped) == pytest.approx((0.5, 0.25))
    # Neither the first, in which only solved episodes can end, nor that of 3.
    assert facts.points("rollout/success_rate") == list(RATES[2:])
    assert len(facts.points("residual/l2")) == len(RATES) + 1
    assert facts.elsewhere == [Elsewhere("randomization", 40, N)]
    assert base_comparison(facts).won == 24
    inside = read(others[0])
    assert (inside.typed, inside.lines) == ([*facts.typed, "randomization=hard"], [])


def test_the_command_names_the_run_that_it_began_with(tmp_path):
    run = write_run(tmp_path / "run", "init_from=/runs/first")
    typed = run.path / ".hydra" / "overrides.yaml"
    typed.write_text('["algo=ppo", "init_from=latest"]')
    assert command(read(run)) == "python main.py algo=ppo init_from=/runs/first"
    typed.unlink()
    assert read(run).typed is None


def test_a_residual_at_its_limit_is_all_of_its_largest(tmp_path):
    ramp = "{start: 0.0, end: 1.0, steps: 1000}"
    for alpha, mean, largest in (
        *(("[1,0,0,0,0,0]", 1 / 6, 1.0), ("[0.6,0.8,0,0,0,0]", 1.4 / 6, 1.0)),
        *(("0.5", 0.5, 0.5 * 6**0.5), (ramp, 0.7, 0.7 * 6**0.5)),
    ):
        run = write_run(tmp_path / alpha, f"residual.alpha={alpha}", rates=())
        for step in range(JOB.few):
            run.log(step + 1, {"residual/l2": largest, "residual/alpha": mean})
        shares = read(run).points("residual/share")
        assert shares == pytest.approx([1.0] * JOB.few)
    assert a_run(f"residual.alpha={ramp}").alpha == 1.0
    judged = a_run(f"residual.alpha={ramp}", judged_alpha=[0.2] * 6)
    assert judged.alpha == pytest.approx(0.2)


def test_the_figure_has_a_panel_for_all_there_is(tmp_path, monkeypatch):
    from matplotlib.figure import Figure

    def titles(rows, lines):
        drawn = []
        monkeypatch.setattr(Figure, "savefig", lambda own, *_, **__: drawn.append(own))
        figure_diagnosis(run, lines, rows, JOB.symptoms)
        shown = [axes for axes in drawn[0].axes if axes.get_visible()]
        return list(filter(None, (axes.get_title(loc="left") for axes in shown)))

    run, facts = write_run(tmp_path), a_run()
    assert titles(facts.rows, facts.lines) == [
        *("Learning", "How episodes end: residual", "Residual, with noise"),
        *("Size of the updates", "Exploration", "Value network"),
    ]
    sac = titles(facts.rows, off_policy(train__critic_loss=1.0, train__ent_coef=0.1))
    assert "Size of the updates" not in sac and "Exploration" in sac
    assert titles({"base": facts.rows["base"]}, []) == ["How episodes end: base"]
    start = [{"step": 0, "eval/success_rate": 0.7}]
    assert figure_diagnosis(run, start, {}, JOB.symptoms) is None  # without data


def test_the_page_has_every_symptom_with_its_limits_and_only_keys_that_exist():
    cells = {row[2]: row[0] for row in re.findall(r"^((\| `)(\w+)` \|.*)$", PAGE, re.M)}
    assert set(cells) == set(JOB.symptoms)
    for name, own in JOB.symptoms.items():
        for how in own["try"].values():
            assert len({"times", "plus", "horizon", "to"} & set(how)) == 1, name
        keys = set(re.findall(r"`([a-z_.]+)[=`]", cells[name])) - {name}
        assert set(map(str, own["try"])) <= keys, name
        assert bool(own["try"]) == (name != CLASS)
        for limit in own.keys() - {"try"}:
            shown = {f"{own[limit]:g}", f"{100 * own[limit]:g} %"}
            assert any(number in cells[name] for number in shown), (name, limit)
    groups = "env|base_policy|algo|residual|evaluation|hardware|randomization|job"
    configs = [config_of("job=explain", f"algo={name}") for name in ("ppo", "sac")]
    known = " ".join(f".{key}" for cfg in configs for key in settings(cfg))
    for key in re.findall(rf"`((?:{groups})\.[a-z_.0-9]+?)(?:=[^`]*)?`", PAGE):
        assert re.search(rf"(^| )\.{re.escape(key)}\b", known), key
