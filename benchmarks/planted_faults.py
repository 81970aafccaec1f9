"""Plants faults in the code, one by one, and counts which of them the tests catch.

    python benchmarks/planted_faults.py                       all, in both trees
    python benchmarks/planted_faults.py --only wilson_z --tree new
    python benchmarks/planted_faults.py --check               only look for the texts

`planted_faults.yaml` holds the faults. Each is planted in a temporary git worktree of
the old commit, from before the tests were halved, and of the new one; then the test
files of its subject run there. A fault counts as caught if a test fails with it and
passes without it.
"""

import argparse
import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))  # this folder is no part of the installed package

from benchmarks.measure import machine  # noqa: E402
from so101rl.files import read_json  # noqa: E402

FAULTS = ROOT / "benchmarks" / "planted_faults.yaml"
RESULTS = ROOT / "benchmarks" / "results"
OLD_COMMIT = "4b33f7d"  # the last one with all tests
TREES = ("old", "new")
TIMEOUT_S = 900.0  # for the tests of one fault


class PlantError(Exception):
    """A fault cannot be planted, or its tests give no verdict."""


@dataclass(frozen=True, kw_only=True)
class Edit:
    """One fault in one tree.

    Attributes:
        file: the changed file, relative to the tree.
        search: text that occurs exactly once in it.
        replace: the faulty text.
        tests: test files of the subject, relative to the tree.
    """

    file: str
    search: str
    replace: str
    tests: list[str]

    def faulty(self, text: str) -> str:
        """The file's text with the fault.

        Raises:
            PlantError: the text to replace is not there exactly once.
        """
        count = text.count(self.search)
        if count != 1:
            raise PlantError(f"{self.file}: expected 1 x {self.search!r}, got {count}")
        return text.replace(self.search, self.replace)


@dataclass(frozen=True)
class Fault:
    """A fault and how it is planted in both trees."""

    id: str
    subject: str
    edits: dict[str, Edit]


def read_faults(path: Path = FAULTS) -> dict[str, Fault]:
    """The faults of a yaml file by id; `new` inherits every key from `old`."""
    found = {}
    for node in yaml.safe_load(path.read_text()):
        edits = {
            "old": Edit(**node["old"]),
            "new": Edit(**{**node["old"], **node["new"]}),
        }
        if node["id"] in found:
            raise PlantError(f"{path.name}: {node['id']} occurs twice")
        found[node["id"]] = Fault(node["id"], node["subject"], edits)
    return found


def problems(tree: Path, edits: Sequence[Edit]) -> list[str]:
    """Why edits cannot be planted in a tree; empty if they can."""
    found = []
    for edit in edits:
        absent = [n for n in (edit.file, *edit.tests) if not (tree / n).is_file()]
        found += [f"{name}: there is no such file" for name in absent]
        if edit.file not in absent:
            try:
                edit.faulty((tree / edit.file).read_text())
            except PlantError as error:
                found.append(str(error))
    return found


def try_fault(tree: Path, edit: Edit) -> dict[str, Any]:
    """Plant a fault, run its tests, and take it out again.

    Returns:
        `caught`, the test that caught it (`by`) and the `seconds` of the tests.

    Raises:
        PlantError: the tests did not run, or fail without the fault too.
    """
    path = tree / edit.file
    text = path.read_text()
    path.write_text(edit.faulty(text))
    begin = time.monotonic()
    try:
        output = run_tests(tree, edit.tests)
    finally:
        path.write_text(text)
    seconds = round(time.monotonic() - begin, 1)
    if output is None:
        return {"caught": False, "by": None, "seconds": seconds}
    name = first_failure(tree, output)
    if run_tests(tree, [name]) is not None:
        raise PlantError(f"{name} fails without the fault too")
    return {"caught": True, "by": name, "seconds": seconds}


def run_tests(tree: Path, names: Sequence[str]) -> str | None:
    """Run test files or tests of a tree up to the first failure.

    Returns:
        What pytest printed if a test failed, None if all passed.

    Raises:
        PlantError: pytest could not run them, or took too long.
    """
    command = [sys.executable, "-m", "pytest", "-x", "-q", *names]
    try:
        done = subprocess.run(
            command,
            cwd=tree,
            env=environment(tree),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=TIMEOUT_S,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise PlantError(f"no end within {TIMEOUT_S:.0f} s: {names}") from error
    finally:
        end_processes(tree)
    output = done.stdout + done.stderr
    if done.returncode not in (0, 1):
        raise PlantError(f"pytest ended with {done.returncode}:\n{output[-2000:]}")
    return output if done.returncode else None


def environment(tree: Path) -> dict[str, str]:
    """The variables with which a tree's own package is imported.

    Without bytecode: two texts of one size within a second share a cached file.
    """
    own = {"PYTHONPATH": str(tree), "PYTHONDONTWRITEBYTECODE": "1"}
    own |= {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "CUDA_VISIBLE_DEVICES": ""}
    return os.environ | own


def first_failure(tree: Path, output: str) -> str:
    """The id of the test at which pytest stopped."""
    path = tree / ".pytest_cache" / "v" / "cache" / "lastfailed"
    failed = list(json.loads(path.read_text())) if path.is_file() else []
    path.unlink(missing_ok=True)
    if len(failed) != 1:
        raise PlantError(f"expected 1 failed test, got {failed}:\n{output[-2000:]}")
    return str(failed[0])


def end_processes(tree: Path) -> None:
    """Kill what a fault has left running: every process with the tree's variables."""
    mark = f"PYTHONPATH={tree}".encode()
    for entry in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):  # it is not ours, or has just ended
            if mark in (entry / "environ").read_bytes().split(b"\0"):
                os.kill(int(entry.name), signal.SIGKILL)


@contextlib.contextmanager
def worktree(commit: str) -> Iterator[Path]:
    """A temporary worktree of a commit."""
    with tempfile.TemporaryDirectory(prefix="so101rl-faults-") as folder:
        tree = Path(folder).resolve() / "tree"
        git("worktree", "add", "--quiet", "--detach", str(tree), commit)
        try:
            check_import(tree)
            yield tree
        finally:
            git("worktree", "remove", "--force", str(tree))


def check_import(tree: Path) -> None:
    """Raise a PlantError if programs in a tree import another copy of the package."""
    code = "import so101rl; print(so101rl.__file__)"
    found = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tree,
        env=environment(tree),
        capture_output=True,
        text=True,
        check=True,
    ).stdout.strip()
    if not Path(found).is_relative_to(tree):
        raise PlantError(f"so101rl is imported from {found}, expected below {tree}")


def git(*words: str) -> str:
    """What git prints in this repository."""
    command = ["git", "-C", str(ROOT), *words]
    return subprocess.run(
        command, check=True, capture_output=True, text=True
    ).stdout.strip()


def main(arguments: Sequence[str] | None = None) -> int:
    """Try the faults, print and write the table; 1 if one was not caught."""
    options = _parser().parse_args(arguments)
    known = read_faults()
    names = options.only or list(known)
    if unknown := sorted({*names} - {*known}):
        print(f"--only={','.join(unknown)}: expected ids of {FAULTS.name}")
        return 2
    faults = [known[name] for name in names]
    trees = TREES if options.tree == "both" else (options.tree,)
    commits = {"old": options.old, "new": options.new}
    commits = {tree: git("rev-parse", commits[tree]) for tree in trees}
    found: dict[str, dict[str, Any]] = {fault.id: {} for fault in faults}
    for tree, commit in commits.items():
        with worktree(commit) as folder:
            wrong = problems(folder, [fault.edits[tree] for fault in faults])
        if wrong:
            print("\n".join(f"{tree}: {problem}" for problem in wrong))
            return 2
    if options.check:
        return 0
    for tree, commit in commits.items():
        with worktree(commit) as folder:
            for fault in faults:
                found[fault.id][tree] = one = _tried(folder, fault.edits[tree])
                one["commit"] = commit
                print(f"{fault.id}, {tree}: {as_text(one)}", flush=True)
    write(options.out, faults, found)
    return int(any(not one["caught"] for row in found.values() for one in row.values()))


def _tried(tree: Path, edit: Edit) -> dict[str, Any]:
    try:
        return try_fault(tree, edit)
    except PlantError as error:
        print(error, flush=True)
        reason = str(error).splitlines()[0]
        return {"caught": None, "by": f"no verdict: {reason}", "seconds": None}


def as_text(one: dict[str, Any]) -> str:
    """The result of one fault in one tree."""
    if not one["caught"]:
        return "NOT CAUGHT" if one["caught"] is False else str(one["by"])
    return f"caught by {one['by']} ({one['seconds']} s)"


def write(
    folder: Path, faults: Sequence[Fault], found: dict[str, dict[str, Any]]
) -> None:
    """Write json and table; results of earlier calls that were not repeated stay."""
    path = folder / "planted_faults.json"
    before = read_json(path)["faults"] if path.exists() else []
    rows = {row["id"]: row for row in before}
    for fault in faults:
        own = {"id": fault.id, "subject": fault.subject, **found[fault.id]}
        rows[fault.id] = rows.get(fault.id, {}) | own
    kept = [rows[name] for name in read_faults() if name in rows]
    content = {"machine": machine(), "faults": kept}
    folder.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content, indent=1) + "\n")
    path.with_suffix(".md").write_text(table(content))
    print(f"written: {path}")


def table(content: dict[str, Any]) -> str:
    """The faults as Markdown: a row each, a column per tree."""
    lines = ["<!-- written by benchmarks/planted_faults.py; do not edit -->", ""]
    lines += ["| fault | all tests | halved tests |", "|---|---|---|"]
    ends = []
    for tree in TREES:
        own = [row[tree] for row in content["faults"] if tree in row]
        commits = ", ".join(sorted({one["commit"][:8] for one in own}))
        caught = sum(bool(one["caught"]) for one in own)
        ends.append(f"{caught} of {len(own)} caught at {commits or 'no commit'}")
    for row in content["faults"]:
        cells = [_cell(row[tree]) if tree in row else "" for tree in TREES]
        lines.append(f"| {row['subject']} | {' | '.join(cells)} |")
    where = content["machine"]
    lines += ["", f"All tests: {ends[0]}. Halved tests: {ends[1]}."]
    lines.append(f"{where['usable_cpus']} cores; seconds up to the first failure.")
    return "\n".join([*lines, ""])


def _cell(one: dict[str, Any]) -> str:
    if not one["caught"]:
        return as_text(one).replace("|", "\\|")
    file, _, test = one["by"].partition("::")
    test = test.partition("[")[0]
    return f"`{Path(file).name}` `{test}`, {one['seconds']:.0f} s"


def _parser() -> argparse.ArgumentParser:
    assert __doc__ is not None
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", nargs="+", metavar="ID", help="some faults")
    parser.add_argument("--tree", choices=[*TREES, "both"], default="both")
    parser.add_argument("--old", default=OLD_COMMIT, metavar="COMMIT")
    parser.add_argument("--new", default="HEAD", metavar="COMMIT")
    parser.add_argument("--check", action="store_true", help="run no test")
    parser.add_argument("--out", type=Path, default=RESULTS)
    return parser


if __name__ == "__main__":
    sys.exit(main())
