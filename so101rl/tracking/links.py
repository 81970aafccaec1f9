"""Print where MLflow compares runs, for `make ui`: `python -m so101rl.tracking.links`.

MLflow opens on the pages of its other trade; these addresses lead past them.
"""

import sqlite3
import sys
from contextlib import closing
from pathlib import Path

from so101rl.tracking.first_view import TAG, link

ALL = "/#/experiments?workflowType=machine_learning"
HAVE_VIEW = """
SELECT experiment_id, name FROM experiments JOIN experiment_tags USING (experiment_id)
WHERE lifecycle_stage = 'active' AND key = ?
"""


def links(store: Path, server: str) -> list[str]:
    """A line per experiment of a sqlite store; none if no run has been there yet."""
    if not store.exists():
        return []
    with closing(
        sqlite3.connect(f"{store.resolve().as_uri()}?mode=ro", uri=True)
    ) as db:
        found = db.execute(HAVE_VIEW, (TAG,)).fetchall()
    return [f"{name}: {server}{link(number)}" for number, name in found]


def main() -> None:
    """Take the store's file and the server's address from the command line."""
    store, server = sys.argv[1:]
    print("\n".join(links(Path(store), server) or [f"{server}{ALL}"]))


if __name__ == "__main__":
    main()
