"""A tour of one run, cell by cell: VS Code, Spyder and Jupytext show it as a notebook.

`python docs/notebook.py` runs it as a script. It takes the run started last, or the one
that SO101RL_RUN names, and leaves its figure beside that run's own.
"""

# %% Load a run: its policy, and what it wrote down
import json
import os

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

import so101rl

policy = so101rl.load(os.environ.get("SO101RL_RUN", "latest"))
print(policy)

# %% How good it is, on the episodes that every policy of this seed is judged on
episodes = policy.episodes
columns = ["is_success", "length", "final_distance_m", "mean_residual_l2"]
print(episodes.groupby("policy")[columns].mean().round(3))
print(episodes.groupby(["policy", "failure"]).size().unstack(fill_value=0))

# %% Where base and residual end differently: the same seeds, side by side
ends = episodes.pivot(index="seed", columns="policy", values="failure")
print(ends[ends["base"] != ends["residual"]].head())

# %% Run it by hand: observation in, residual out
env = policy.make_env(4)  # the run's own task, base policy and authority
obs, _ = env.reset(seed=[1, 2, 3, 4])
policy.reset()
distance, ended, solved = [], 0, 0
for _ in range(200):
    obs, reward, terminated, truncated, info = env.step(policy.act(obs))
    done = terminated | truncated  # the next episode has begun there already
    policy.reset(np.flatnonzero(done))  # matters to a policy that remembers
    ended, solved = ended + done.sum(), solved + info["is_success"][done].sum()
    distance.append(np.where(done, np.nan, info["numbers"]["distance_m"]))
env.close()
print(f"{solved} of {ended} episodes solved")

# %% Elsewhere: whole episodes, a row each, under wider randomization
harder = policy.play(range(8), overrides=["randomization=hard"])
both = pd.concat(
    {"as trained": episodes[episodes.policy == "residual"], "hard": harder}
)
print(both.groupby(level=0)["is_success"].agg(["mean", "count"]))

# %% Draw: how it was learned, and how the sheet comes closer
figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.2), layout="constrained")
learning = 100 * policy.metrics["eval/success_rate"].dropna()
left.plot(learning.index / 1000, learning, marker="o")
left.set(xlabel="thousand env steps", ylabel="success [%]", ylim=(-3, 103))
left.set_title("select episodes")
right.plot(np.array(distance) * 1000)
right.set(xlabel="control step", ylabel="sheet to square [mm]")
right.set_title("four environments, one episode after the other")
path = policy.path / "figures" / "notebook.png"
path.parent.mkdir(exist_ok=True)
figure.savefig(path, dpi=120)
print(path)

# %% Take it elsewhere: one file that needs nothing but torch
file = policy.export()
print(json.loads(file.with_suffix(".json").read_text())["inputs"])
