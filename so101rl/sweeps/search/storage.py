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
RIGHT = "right is sqlite:///FILE or postgresql+psycopg://USER@HOST/DATABASE"
DRIVERS = ("psycopg", "psycopg2", "asyncpg", "pg8000")
WRITER_S = 60  # how long sqlite waits for another writer [s]
# Of PostgreSQL's locks, a number that nobody else will have chosen; and how long it
# waits for a machine that went dark while it had the lock.
TURN, DARK = 0x501_01, "5min"


def sqlite_url(path: Path) -> str:
    """The address of a sqlite file.

    Raises:
        SweepError: no address can hold its name.
    """
    from sqlalchemy.engine import make_url

    url = f"sqlite:///{path}"
    if make_url(url).database != str(path):
        raise SweepError(
            f"{path}: a database cannot be in a folder with ? or % in its name; choose "
            "another hydra.sweep.dir"
        )
    return url


def check(url: str) -> "URL":
    """Look at a database's address without going there.

    Raises:
        SweepError: it is none that several processes can share, or holds a password.
    """
    from sqlalchemy.engine import make_url
    from sqlalchemy.exc import ArgumentError

    try:
        found = make_url(url)
    except (ArgumentError, ValueError) as error:  # does not repeat it: see below
        raise SweepError(f"{KEY}: it is no address; {RIGHT}") from error
    if found.password is not None or "password" in found.query:
        raise SweepError(
            f"{KEY}: its password would stand in every run's files; right is an "
            "address without one, and PGPASSFILE or PGPASSWORD"
        )
    kind = found.get_backend_name()
    if kind not in ("sqlite", "postgresql"):
        raise SweepError(f"{KEY}={url}: {RIGHT}")
    if kind == "sqlite" and found.database in (None, "", ":memory:"):
        raise SweepError(f"{KEY}={url}: nobody else can see it; {RIGHT}")
    return found


def open_storage(url: str, heartbeat_s: int, grace_s: int) -> "RDBStorage":
    """Optuna's view of a database; makes its tables if it has none.

    Raises:
        SweepError: it cannot be used.
    """
    from optuna.exceptions import ExperimentalWarning
    from optuna.storages import RDBStorage

    engine: dict[str, Any] = {"pool_pre_ping": True}  # a server drops idle connections
    if check(url).get_backend_name() == "sqlite":
        engine = {"connect_args": {"timeout": WRITER_S}}
    # Alone, for two that make its tables at once break it.
    with database_errors(url), exclusive(url), warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)  # its heartbeat is one
        return RDBStorage(
            url.replace("{", "{{").replace("}", "}}"),  # it formats what it gets
            engine_kwargs=engine,
            heartbeat_interval=heartbeat_s,
            grace_period=grace_s,
        )


@contextlib.contextmanager
def exclusive(url: str) -> Iterator[None]:
    """Let the processes that share a database in one by one.

    For what takes several steps. Whoever dies within it leaves it.
    """
    from sqlalchemy import create_engine, text
    from sqlalchemy.pool import NullPool

    address = check(url)
    if address.get_backend_name() == "sqlite":
        path = Path(str(address.database))
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.with_name(f"{path.name}.lock").open("w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)  # freed when the file closes
            yield
        return
    engine = create_engine(address, poolclass=NullPool)
    with engine.connect() as connection:  # it is freed when the connection ends
        connection.execute(text(f"SET idle_in_transaction_session_timeout = '{DARK}'"))
        connection.execute(text(f"SELECT pg_advisory_xact_lock({TURN})"))
        yield


@contextlib.contextmanager
def database_errors(url: str) -> Iterator[None]:
    """Say in short what is wrong with a database.

    Raises:
        SweepError: it cannot be reached, or no longer.
    """
    from optuna.exceptions import StorageInternalError
    from sqlalchemy.exc import DBAPIError, NoSuchModuleError

    try:
        yield
    except ModuleNotFoundError as error:
        if error.name not in DRIVERS:
            raise
        raise SweepError(f"{KEY}={url}: {error}; {RIGHT}") from error
    except (DBAPIError, NoSuchModuleError, StorageInternalError) as error:
        inner = error.__cause__ if isinstance(error, StorageInternalError) else error
        reason = str(inner or error).strip().splitlines()[0]
        raise SweepError(f"{KEY}={url}: {reason}") from error
