"""`job=explain`: read a run, say what it suffers from, draw it."""

from pathlib import Path

from omegaconf import DictConfig

from so101rl.diagnosis.facts import read_facts
from so101rl.diagnosis.symptoms import symptoms
from so101rl.diagnosis.text import told
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
    print("\n".join(told(facts, symptoms(facts, cfg.job.symptoms), cfg.job)))
    path = figure_diagnosis(
        RunDir.open(facts.path), facts.lines, facts.rows, cfg.job.symptoms
    )
    if path is not None:
        print(f"figure: {path}")
