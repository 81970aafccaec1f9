"""Prints MLflow addresses of runs for `make ui`: `python -m so101rl.tracking.links`.

One address shows all runs of an experiment, another filters those of a sweep.
"""

import sys
from pathlib import Path
from urllib.parse import urlencode

from so101rl.tracking.mlflow_mirror import SWEEP_UID
from so101rl.tracking.mlflow_store import KIND, MlflowStore
from so101rl.tracking.mlflow_sweep import JOB

# Parameters of an MLflow address: its pages for models, with charts of the runs.
CHARTS = {"workflowType": "machine_learning", "compareRunsMode": "CHART"}
SWEEPS = 5  # number of sweeps, newest first


def links(store: Path, server: str) -> list[str]:
    """A line per experiment in a sqlite file, and one for each of the newest sweeps.

    Empty if the file does not exist.
    """
    if not store.exists():
        return []
    with MlflowStore(f"sqlite:///{store}", "").client() as client:
        experiments = [
            one
            for one in client.search_experiments(order_by=["name ASC"])
            if KIND.items() <= one.tags.items()
        ]
        sweeps = client.search_runs(
            [one.experiment_id for one in experiments],
            f"tags.job = '{JOB}'",
            max_results=SWEEPS,
            order_by=["attributes.start_time DESC"],
        )
    pages = [f"{one.name}: {_page(server, one.experiment_id)}" for one in experiments]
    for sweep in sweeps:
        words = f'tags.{SWEEP_UID} = "{sweep.data.tags["uid"]}"'
        address = _page(server, sweep.info.experiment_id, searchFilter=words)
        pages.append(f"sweep {sweep.info.run_name}: {address}")
    return pages


def _page(server: str, experiment_id: str, **parameters: str) -> str:
    """The address of the runs of an experiment, with further URL parameters."""
    query = urlencode(CHARTS | parameters)
    return f"{server}/#/experiments/{experiment_id}/runs?{query}"


def main() -> None:
    """Take the store's file and the server's address from the command line."""
    store, server = sys.argv[1:]
    everything = f"{server}/#/experiments?workflowType=machine_learning"
    print("\n".join(links(Path(store), server) or [everything]))


if __name__ == "__main__":
    main()
