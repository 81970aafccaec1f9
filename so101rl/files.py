"""Reads and writes files: whole or not at all, and only below their directory."""

import contextlib
import itertools
import json
import math
import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from so101rl.errors import So101Error

PACKAGE = Path(__file__).resolve().parent
_PART = re.compile(r"(?!\.{1,2}$)[A-Za-z0-9._=+-]{1,128}")


class FileError(So101Error):
    """A file cannot be read or written."""


class UnsafePath(FileError):
    """A name leads out of its directory, or is no portable file name."""


def shipped(name: str) -> Path:
    """Return the path of `conf`, `assets` or `constraints.txt`, which ship with us.

    They are inside the package in a wheel, and beside the package in a checkout.
    """
    installed = PACKAGE / name
    return installed if installed.exists() else PACKAGE.parent / name


def inside(root: Path, name: str) -> Path:
    """Return the path of a relative name below a directory.

    Args:
        root: The directory.
        name: Relative name with forward slashes, for example `figures/summary.png`.

    Raises:
        UnsafePath: If the path is not below the directory, links followed.
    """
    parts = name.split("/")
    if not all(_PART.fullmatch(part) for part in parts):
        raise UnsafePath(
            f"{name!r} is no name inside {root}: expected a relative name of letters, "
            "digits and . _ = + - with forward slashes"
        )
    path = root.joinpath(*parts)
    if not path.resolve().is_relative_to(root.resolve()):
        raise UnsafePath(f"{name} leads out of {root} by a link")
    return path


def write_atomic(path: Path, content: str | bytes) -> None:
    """Replace a file; readers see the old or the new one whole, also after a crash."""
    data = content.encode() if isinstance(content, str) else content
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    with _file_error(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with temporary.open("wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, path)
        except OSError:
            with contextlib.suppress(OSError):
                temporary.unlink(missing_ok=True)
            raise
        sync_folder(path.parent)


@contextlib.contextmanager
def _file_error(path: Path) -> Iterator[None]:
    """Raise FileError for an error of the operating system while a file is written."""
    try:
        yield
    except OSError as error:
        raise FileError(f"cannot write {path}: {error.strerror}") from error


def sync_folder(path: Path) -> None:
    """Flush a folder's list of names to the disk, which makes a rename permanent."""
    folder = os.open(path, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def next_folder(parent: Path, prefix: str = "") -> Path:
    """Make and return the first folder `PREFIX1`, `PREFIX2`, ... that is not there."""
    parent.mkdir(parents=True, exist_ok=True)
    for number in itertools.count(1):
        path = parent / f"{prefix}{number}"
        with contextlib.suppress(FileExistsError):
            path.mkdir()
            return path
    raise AssertionError("the numbers never end")


def append(path: Path, text: str) -> None:
    """Append text to a file with one system call."""
    with _file_error(path), path.open("ab", buffering=0) as file:
        file.write(text.encode())


def cut(path: Path, size: int) -> None:
    """Shorten a file to `size` bytes and flush it.

    Raises:
        FileError: If it is shorter already.
    """
    with _file_error(path), path.open("r+b") as file:
        length = os.fstat(file.fileno()).st_size
        if length < size:
            raise FileError(f"{path} has {length} bytes, {size} were written once")
        file.truncate(size)
        os.fsync(file.fileno())


def flushed_size(path: Path) -> int:
    """Flush a file to the disk and return its length [bytes]; 0 if it is absent."""
    if not path.exists():
        return 0
    with path.open("rb") as file:
        os.fsync(file.fileno())
        return os.fstat(file.fileno()).st_size


def to_json(content: Mapping[str, Any]) -> str:
    """Return readable JSON.

    Raises:
        FileError: If a number is NaN or infinite, with its path in the content.
    """
    _refuse_non_finite(content, "")
    return json.dumps(content, indent=2, allow_nan=False) + "\n"


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON file that holds one object."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise FileError(f"cannot read {path}: {error}") from error
    if not isinstance(content, dict):
        raise FileError(f"{path} holds a {type(content).__name__}, not an object")
    return content


def read_jsonl(path: Path, offset: int = 0) -> tuple[list[dict[str, Any]], int]:
    """Read the complete lines of a jsonl file from a byte offset on.

    An unfinished last line, still being written or cut by a crash, is left for the next
    call. A file that does not exist yet has no lines.

    Returns:
        The records, and the offset for the next call.
    """
    if not path.exists():
        return [], offset
    try:
        with path.open("rb") as file:
            file.seek(offset)
            data = file.read()
        data = data[: data.rfind(b"\n") + 1]
        return [json.loads(line) for line in data.splitlines()], offset + len(data)
    except (OSError, ValueError) as error:
        raise FileError(f"cannot read {path}: {error}") from error


def _refuse_non_finite(value: Any, place: str) -> None:
    if isinstance(value, Mapping):
        for key, item in value.items():
            _refuse_non_finite(item, f"{place}/{key}" if place else str(key))
    elif isinstance(value, list | tuple):
        for index, item in enumerate(value):
            _refuse_non_finite(item, f"{place}/{index}")
    elif isinstance(value, float) and not math.isfinite(value):
        raise FileError(f"{place}={value}: expected a finite number or null")
