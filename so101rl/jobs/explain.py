"""`job=explain`: read a run, print its symptoms and what to try, draw them."""

from pathlib import Path

from omegaconf import DictConfig

from so101rl.diagnosis.facts import read_facts
from so101rl.diagnosis.symptoms import symptoms
from so101rl.diagnosis.text import explanation
from so101rl.errors import ConfigError
from so101rl.figures.diagnosis import figure_diagnosis
from so101rl.runs.run_dir import RunDir


def explain(cfg: DictConfig) -> None:
    """Print why a run is good or bad, and draw `figures/diagnosis.png`.

    Raises:
        ConfigError: no run was named.
    """
    if cfg.run is None:
        raise ConfigError("run", got=None, expected="a run directory, or latest")
    facts = read_facts(Path(cfg.run), few=cfg.job.few, episodes=cfg.job.episodes)
    limits = cfg.job.symptoms
    print("\n".join(explanation(facts, symptoms(facts, limits), cfg.job)))
    path = figure_diagnosis(RunDir.open(facts.path), facts.lines, facts.rows, limits)
    if path is not None:
        print(f"figure: {path}")
