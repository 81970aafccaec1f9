"""Print where MLflow compares runs, for `make ui`: `python -m so101rl.tracking.links`.

MLflow opens on the pages of its other trade; these addresses lead past them.
"""

import json
import sqlite3
import sys
from contextlib import closing
from pathlib import Path

from so101rl.tracking.mlflow_view import TAG, VIEW, link

ALL = "/#/experiments?workflowType=machine_learning"
VIEWS = """
SELECT experiment_id, name, key, value
FROM experiments JOIN experiment_tags USING (experiment_id)
WHERE lifecycle_stage = 'active' AND key LIKE ?
"""
SWEEPS = 5  # the newest of them


def links(store: Path, server: str) -> list[str]:
    """A line per experiment of a sqlite store, and of the newest sweeps in it.

    There are none if no run has been there yet.
    """
    if not store.exists():
        return []
    with closing(
        sqlite3.connect(f"{store.resolve().as_uri()}?mode=ro", uri=True)
    ) as db:
        found = db.execute(VIEWS, (f"{TAG}%",)).fetchall()
    pages, sweeps = [], []
    for number, name, key, value in found:
        if key == TAG:
            pages.append(f"{name}: {server}{link(number)}")
        else:
            view = json.loads(value)
            address = server + link(number, key.removeprefix(VIEW))
            sweeps.append((view["createdAt"], f"sweep {view['name']}: {address}"))
    return pages + [line for _, line in sorted(sweeps, reverse=True)[:SWEEPS]]


def main() -> None:
    """Take the store's file and the server's address from the command line."""
    store, server = sys.argv[1:]
    print("\n".join(links(Path(store), server) or [f"{server}{ALL}"]))


if __name__ == "__main__":
    main()
