"""Run directories and studies with made-up numbers, as a sweep leaves them."""

import functools
import itertools
import json
import random
import uuid

from omegaconf import OmegaConf

from so101rl.files import to_json
from so101rl.runs.episodes_csv import to_csv
from so101rl.runs.metrics import policy_scores
from so101rl.runs.preregistration import sha256
from so101rl.runs.provenance import first_info, full_name
from so101rl.runs.run_dir import RunDir
from so101rl.seeds import episode_seeds

GROUPS = {"env": "paper_push", "base_policy": "jacobian", "algo": "ppo"}
FAILURES = ("timed_out", "wrong_yaw", "overshot", "jammed", "never_touched")
STARTED = "2026-11-21T12:00:00.000+00:00"
REGISTERED = "2026-11-21T11:00:00.000+00:00"
N = 20  # held-out episodes of a run
BASE = 8  # of them that its base solves


@functools.cache
def _info():
    info = first_info("python main.py", GROUPS, 0, {}, STARTED)  # asks git: slow
    return info | {"git": {"commit": "a" * 40, "dirty": False, "diff_sha256": None}}


def write(path, text):
    """Write a file, without waiting for the disk."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def episodes(policy, solved, n=N, *, root=0, role="report", size=0.0):
    """Rows of `episodes.csv` of which the first `solved` succeed."""
    rng = random.Random(f"{policy}{root}{solved if policy != 'base' else ''}")
    return [
        {
            "policy": policy,
            "episode": number,
            "seed": seed,
            "is_success": number < solved,
            "return": rng.uniform(-2, 2),
            "length": 40 + number,
            "final_distance_m": rng.uniform(0, 0.2),
            "final_yaw_error_rad": rng.uniform(0, 1),
            "time_to_success_s": (40 + number) / 30 if number < solved else None,
            "mean_residual_l2": size and rng.uniform(0, size),
            "failure": "none" if number < solved else FAILURES[number % 5],
        }
        for number, seed in enumerate(episode_seeds(root, role, n))
    ]


def make_run(
    path, *, seed=0, residual=18, error=None, keys=None, part_of=None, **groups
):
    """A run directory as training leaves it; the residual solves `residual` of `N`."""
    evaluation = {"role": "report", "n_episodes": N}
    cfg = {"seed": seed, "residual": {"alpha": 1.0}, "evaluation": evaluation}
    cfg = OmegaConf.create(cfg | {"part_of": part_of})
    for key, value in (keys or {}).items():
        OmegaConf.update(cfg, key, value)
    rng = random.Random(f"{path.name}{path.parent.name}{seed}")
    uid = uuid.UUID(int=rng.getrandbits(128)).hex
    groups = GROUPS | groups
    facts = {
        **{"uid": uid, "name": full_name(groups, seed, uid), "groups": groups},
        **{"seed": seed, "seeds": {"root": seed}, "part_of": part_of},
        **{"started": STARTED, "ended": STARTED, "wall_clock_s": 60.5 + seed},
        **{"status": "finished", "error": None},
    }
    if error:
        own = {"class": "DivergedError", "message": error, "kind": "diverged"}
        facts |= {"status": "failed", "error": own}
    write(path / "run.json", to_json(_info() | facts))
    write(path / ".hydra/config.yaml", OmegaConf.to_yaml(cfg))
    end, lines = residual / N, []
    for step in range(25_000, 200_001, 25_000):
        rate = end + (BASE / N - end) * 0.5 ** (step / 40_000)
        noisy = rate + random.Random(f"{uid}{step}").gauss(0, 0.03)
        lines.append({"step": step, "eval/success_rate": min(max(noisy, 0.0), 1.0)})
    write(path / "metrics.jsonl", "".join(json.dumps(x) + "\n" for x in lines))
    if not error:
        role = cfg.evaluation.role
        base = episodes("base", BASE, root=seed, role=role)
        own = episodes("residual", residual, root=seed, role=role, size=1)
        write_episodes(path, {"base": base, "residual": own}, seed, role)
    return RunDir.open(path)


def write_episodes(path, policies, root=0, role="report"):
    """`episodes.csv` and the `evaluation.json` that belongs to it."""
    own = {"root": root, "role": role}
    scores = {name: policy_scores(rows, **own) for name, rows in policies.items()}
    write(path / "evaluation.json", to_json({"policies": scores, "policy_step": 1}))
    write(path / "episodes.csv", to_csv([*itertools.chain(*policies.values())]))


def edit_info(path, **changes):
    """Change entries of a run's `run.json`."""
    info = json.loads((path / "run.json").read_text())
    write(path / "run.json", json.dumps(info | changes))


def make_study(sweep, solved, **changes):
    """A registered study with runs; its first arm is the reference.

    `solved` has, by arm, per seed how many episodes the residual solves; None: no run.
    """
    alphas = {arm: place / 10 for place, arm in enumerate(solved)}
    study = {
        **{"question": "What does alpha do?", "reference": next(iter(solved))},
        "arms": {name: [f"residual.alpha={alpha}"] for name, alpha in alphas.items()},
        "seeds": list(range(max(map(len, solved.values())))),
        "metric": "residual/success_rate",
        **{"test": "paired_permutation", "correction": "holm", "significance": 0.05},
    } | changes
    own = {"evaluation.n_episodes": N}
    made = {arm: {"residual.alpha": alpha, **own} for arm, alpha in alphas.items()}
    promised = {"study": study, "settings": made}
    digest, git = sha256(promised), {"commit": "b" * 40, "dirty": False}
    head = {"name": sweep.name, "sha256": digest, "registered": REGISTERED, "git": git}
    write(sweep / "registration.json", to_json({**head, **promised, "deviations": []}))
    for arm, counts in solved.items():
        part = {"sweep": sweep.name, "registration": digest, "arm": arm}
        own = {"keys": {"residual.alpha": alphas[arm]}, "part_of": part}
        for seed, count in enumerate(counts):
            if count is not None:
                make_run(sweep / f"{arm}/seed-{seed}", seed=seed, residual=count, **own)
    return study
