"""The database of a search: a sqlite file, or PostgreSQL for several machines."""

import contextlib
import fcntl
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from so101rl.sweeps.job import SweepError

if TYPE_CHECKING:
    from optuna.storages import RDBStorage
    from sqlalchemy.engine import URL

KEY = "hydra.sweeper.storage"
EXPECTED = "expected sqlite:///FILE or postgresql+psycopg://USER@HOST/DATABASE"
DRIVERS = ("psycopg", "psycopg2", "asyncpg", "pg8000")
SQLITE_S = 60  # how long sqlite waits for another writer [s]
PG_LOCK = 0x501_01  # number of our advisory lock in PostgreSQL; arbitrary
PG_TIMEOUT = "5min"  # after which PostgreSQL frees the lock of a lost machine


def sqlite_url(path: Path) -> str:
    """The address of a sqlite file.

    Raises:
        SweepError: the path contains ? or %, which have a meaning in an address.
    """
    from sqlalchemy.engine import make_url

    url = f"sqlite:///{path}"
    if make_url(url).database != str(path):
        raise SweepError(
            f"hydra.sweep.dir={path.parent}: expected a path without ? and %, for the "
            "database in it"
        )
    return url


def check_url(url: str) -> "URL":
    """Parse a database's address without connecting.

    Raises:
        SweepError: it is invalid, holds a password, or allows only one process.
    """
    from sqlalchemy.engine import make_url
    from sqlalchemy.exc import ArgumentError

    try:
        found = make_url(url)
    except (ArgumentError, ValueError) as error:
        # The address may hold a password, so the message does not show it.
        raise SweepError(f"{KEY}: not an address; {EXPECTED}") from error
    if found.password is not None or "password" in found.query:
        raise SweepError(
            f"{KEY}: expected an address without a password, which every run would "
            "store; use PGPASSFILE or PGPASSWORD"
        )
    kind = found.get_backend_name()
    if kind not in ("sqlite", "postgresql"):
        raise SweepError(f"{KEY}={url}: {EXPECTED}")
    if kind == "sqlite" and found.database in (None, "", ":memory:"):
        raise SweepError(f"{KEY}={url}: only one process can use it; {EXPECTED}")
    return found


def open_storage(url: str, heartbeat_s: int, grace_s: int) -> "RDBStorage":
    """Open a database as a storage of Optuna; create missing tables.

    Raises:
        SweepError: the database cannot be used.
    """
    from optuna.exceptions import ExperimentalWarning
    from optuna.storages import RDBStorage

    engine: dict[str, Any] = {"pool_pre_ping": True}  # a server drops idle connections
    if check_url(url).get_backend_name() == "sqlite":
        engine = {"connect_args": {"timeout": SQLITE_S}}
    # Exclusive, because two processes that create the tables at once fail.
    with database_errors(url), exclusive(url), warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)  # the heartbeat
        return RDBStorage(
            url.replace("{", "{{").replace("}", "}}"),  # Optuna formats it
            engine_kwargs=engine,
            heartbeat_interval=heartbeat_s,
            grace_period=grace_s,
        )


@contextlib.contextmanager
def exclusive(url: str) -> Iterator[None]:
    """Lock a database: only one process at a time can run the block.

    The lock is freed when the block ends or the process dies.
    """
    from sqlalchemy import create_engine, text
    from sqlalchemy.pool import NullPool

    address = check_url(url)
    if address.get_backend_name() == "sqlite":
        path = Path(str(address.database))
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.with_name(f"{path.name}.lock").open("w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)  # freed when the file closes
            yield
        return
    engine = create_engine(address, poolclass=NullPool)
    timeout = text(f"SET idle_in_transaction_session_timeout = '{PG_TIMEOUT}'")
    with engine.connect() as connection:  # which holds the lock
        connection.execute(timeout)
        connection.execute(text(f"SELECT pg_advisory_xact_lock({PG_LOCK})"))
        yield


@contextlib.contextmanager
def database_errors(url: str) -> Iterator[None]:
    """Turn database errors in the block into short messages.

    Raises:
        SweepError: the database cannot be reached or used.
    """
    from optuna.exceptions import StorageInternalError
    from sqlalchemy.exc import DBAPIError, NoSuchModuleError

    try:
        yield
    except ModuleNotFoundError as error:
        if error.name not in DRIVERS:
            raise
        raise SweepError(f"{KEY}={url}: {error}; {EXPECTED}") from error
    except (DBAPIError, NoSuchModuleError, StorageInternalError) as error:
        inner = error.__cause__ if isinstance(error, StorageInternalError) else error
        reason = str(inner or error).strip().splitlines()[0]
        raise SweepError(f"{KEY}={url}: {reason}") from error
