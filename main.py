"""Entry point: Hydra composes the config and `job=` says which function gets it.

Run `python main.py --help` for the groups, the keys and six examples.
"""

import sys

import hydra
from omegaconf import DictConfig

from so101rl.cli import guarded, run_job


@hydra.main(version_base="1.3", config_path="conf", config_name="config")
def main(cfg: DictConfig) -> float | None:
    """Run the job; the float is what a sweep optimises."""
    return run_job(cfg)


if __name__ == "__main__":
    sys.exit(guarded(main))
