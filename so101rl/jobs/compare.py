"""`job=compare`: is one run, or one arm of several seeds, better than another?"""

from omegaconf import DictConfig

from so101rl.errors import ConfigError
from so101rl.report.run_comparison import compare_sides, read_side


def compare(cfg: DictConfig) -> None:
    """Compare the two sides of `runs=[A,B]` and print the findings.

    Raises:
        So101Error: there are not two, or they cannot be compared.
    """
    paths = list(cfg.runs or [])
    if len(paths) != 2:
        expected = "two run directories, or two folders of runs: runs=[A,B]"
        raise ConfigError("runs", got=cfg.runs and paths, expected=expected)
    a, b = map(read_side, paths)
    for line in compare_sides(a, b, cfg.job.significance):
        print(line)
