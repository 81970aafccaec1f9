"""`job=runs`: lists all runs with status, results and size; deletes by `prune`."""

import os
import shutil
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

from omegaconf import DictConfig
from rich.console import Console
from rich.table import Table
from rich.text import Text

from so101rl.config.from_run import OUTPUT_ROOTS
from so101rl.runs.prune import Deletion, delete, leftovers, select
from so101rl.runs.run_dir import RunDir, find_runs
from so101rl.runs.summary import env_steps, success
from so101rl.runs.usage import age_s, format_age, format_size, size_bytes
from so101rl.statistics import BASE, RESIDUAL

COLOURS = {"running": "cyan", "finished": "green", "failed": "red"}
COLOURS |= {"killed": "yellow", "pruned": "magenta"}
RIGHT = ("seed", "env steps", "size", "age")  # columns of numbers
LINE_WIDTH = 10_000  # characters: a terminal wraps longer lines, a file keeps them


def runs(cfg: DictConfig) -> None:
    """List all runs, newest last, or ask about what `prune` would delete."""
    found = find_runs(OUTPUT_ROOTS)
    for run in found:
        run.update_status()
    if cfg.prune is not None:
        prune(found, cfg.prune)
    elif found:
        sizes = [size_bytes([run.path]) for run in found]
        _print(map(_row, found, sizes))
        print(f"\n{len(found)} runs, {format_size(sum(sizes))}")
    else:
        print(f"no runs below {' or '.join(OUTPUT_ROOTS)} yet")


def prune(found: Sequence[RunDir], rule: str) -> None:
    """Show what the rule in the key `prune` would delete, ask, and delete it."""
    items, old = select(found, rule), leftovers(OUTPUT_ROOTS)
    if not items and not old:
        print(f"prune={rule}: nothing to delete")
        return
    _print([*map(_deletion_row, items), *map(_leftover_row, old)])
    total = format_size(sum(item.size for item in items) + size_bytes(old))
    whole = sum(item.is_whole for item in items)
    print(f"\nprune={rule} would delete {total}", end="")
    print(f", whole runs: {whole}; what MLflow has of them stays" if whole else "")
    if not _confirmed():
        print("nothing was deleted")
        return
    left = [item for item in items if not delete(item, rule)]
    for path in old:
        shutil.rmtree(path)
    for item in left:
        print(f"{_relative(item.run.path)}: left, it has changed or is running")
    print(f"deleted: {len(items) + len(old) - len(left)} of {len(items) + len(old)}")


def _confirmed() -> bool:
    """Ask on the terminal; without one the answer is no."""
    if not sys.stdin.isatty():
        print("there is no terminal to ask on: ", end="")
        return False
    try:
        return input("Delete it? [y/N] ").strip().lower() in ("y", "yes")
    except EOFError:
        return False


def _row(run: RunDir, size: int) -> dict[str, str]:
    """A run's line in the list, with what it holds [bytes]."""
    policies = (run.evaluation() or {}).get("policies", {})
    solved = {name: success(scores) for name, scores in policies.items()}
    steps = env_steps(run)
    return {
        "run": run.info["name"],
        "status": run.info["status"],
        "env": str(run.info["groups"].get("env", "")),
        "seed": str(run.info["seed"]),
        "env steps": "" if steps is None else f"{steps:,}",
        "base [%]": solved.get(BASE, ""),
        "residual [%]": solved.get(RESIDUAL, ""),
        "size": format_size(size),
        "age": format_age(age_s(run)),
        "directory": _relative(run.path),
    }


def _deletion_row(item: Deletion) -> dict[str, str]:
    """A run's line in the list of what would be deleted."""
    what = "the run" if item.is_whole else f"{len(item.paths)} checkpoints"
    return {
        "run": item.run.info["name"],
        "status": item.run.info["status"],
        "age": format_age(age_s(item.run)),
        "deleted": what,
        "size": format_size(item.size),
        "directory": _relative(item.run.path),
    }


def _leftover_row(path: Path) -> dict[str, str]:
    """The line of a folder whose deletion was interrupted."""
    size = format_size(size_bytes([path]))
    return {"deleted": "the rest of a run", "size": size, "directory": _relative(path)}


def _relative(path: Path) -> str:
    """A path as one would type it here."""
    return os.path.relpath(path)


def _print(rows: Iterable[dict[str, str]]) -> None:
    """Print rows with the columns of the first one."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    listed = list(rows)
    columns = dict.fromkeys(name for row in listed for name in row)
    for name in columns:
        table.add_column(name, justify="right" if name in RIGHT else "left")
    for row in listed:
        cells = (row.get(name, "") for name in columns)
        table.add_row(*(Text(cell, style=COLOURS.get(cell, "")) for cell in cells))
    Console(width=LINE_WIDTH).print(table)
