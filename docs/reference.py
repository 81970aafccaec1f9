"""Tables of the config, made from the yaml files and the comments behind their keys."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import yaml

CONF = Path(__file__).resolve().parent.parent / "conf"
GLOBAL = "# @package _global_"
# Not for the command line, or explained elsewhere: docs/tuning.md has the symptoms.
SKIPPED = {
    *("loads_run", "latest", "reads", "trains", "takes_run", "takes_prune"),
    *("symptoms", "_partial_", "_recursive_", "defaults"),
}
# Where the keys of a group within a group are, if not at its own name.
PLACES = dict.fromkeys(
    ("randomization/arm", "randomization/paper_push"), "randomization.terms"
)
ABSENT = object()
LINE = re.compile(r"(?P<indent> *)(?P<key>[\w/]+):(?P<value>[^#]*)(?P<comment>#.*)?")


class Key(NamedTuple):
    """A key of a yaml file: dotted name, value, and the comment behind it."""

    name: str
    value: Any
    meaning: str


def root_table() -> str:
    """The keys of `conf/config.yaml`."""
    keys = [key for key in _keys(CONF / "config.yaml") if not _is_hydras(key)]
    lines = ["| key | default | meaning |", "|---|---|---|"]
    return "\n".join(
        lines + [f"| `{k.name}` | {_shown(k.value)} | {k.meaning} |" for k in keys]
    )


def group_table(group: str) -> str:
    """A group's options, and the keys of all of them."""
    paths = sorted((CONF / group).glob("*.yaml"))
    lines = ["| option | what it is |", "|---|---|"]
    lines += [f"| `{group}={path.stem}` | {_headline(path)} |" for path in paths]
    if group in ("experiment", "sweep"):  # these set keys of other groups
        return "\n".join(lines)
    values = {path.stem: _values(path) for path in paths}
    said: dict[str, dict[str, str]] = {}
    for path in paths:
        for key in _keys(path):
            said.setdefault(key.name, {})[path.stem] = key.meaning
    place = PLACES.get(group, group.replace("/", "."))
    rows = [
        f"| `{place}.{name}` | {_defaults(name, values)} | "
        f"{_meaning(name, meanings, values)} |"
        for name, meanings in said.items()
    ]
    if rows:
        lines += ["", "| key | default | meaning |", "|---|---|---|", *rows]
    return "\n".join(lines)


def _is_hydras(key: Key) -> bool:
    return key.name.startswith(("defaults", "hydra"))


def _headline(path: Path) -> str:
    """The first sentence of the comment that a file begins with."""
    said = []
    for line in path.read_text().splitlines():
        if line == GLOBAL:
            continue
        if not line.startswith("#"):
            break
        said.append(line.removeprefix("#").strip())
    sentences = re.split(r"(?<!al)[.?]\s+(?=[A-Z])", " ".join(said))
    return _cell(sentences[0].rstrip("."))


def _values(path: Path) -> dict[str, Any]:
    """What a file says of its group."""
    text = path.read_text()
    found = yaml.safe_load(text) or {}
    return found.get(path.parent.name, {}) if text.startswith(GLOBAL) else found


def _keys(path: Path) -> Iterator[Key]:
    """The keys of a file that have a comment, in the order of the file."""
    text = path.read_text()
    inner = f"{path.parent.name}." if text.startswith(GLOBAL) else ""
    values = _values(path)
    names: list[tuple[int, str]] = []
    lines = text.splitlines()
    for number, line in enumerate(lines):
        found = LINE.fullmatch(line)
        if found is None:
            continue
        indent = len(found["indent"])
        names = [(i, name) for i, name in names if i < indent]
        names.append((indent, found["key"]))
        dotted = ".".join(name for _, name in names)
        if inner and not dotted.startswith(inner):
            continue
        name = dotted.removeprefix(inner)
        if found["comment"] is None or SKIPPED & set(name.split(".")):
            continue
        comment = " ".join(_comment(lines[number:], line.index("#")))
        yield Key(name, _value(name, values), _cell(comment))


def _comment(lines: list[str], column: int) -> Iterator[str]:
    """A comment and the lines below that go on with it at the same column."""
    for number, line in enumerate(lines):
        if number and line[: column + 1].strip() != "#":
            return
        yield line[column + 1 :].strip()


def _value(name: str, values: Any) -> Any:
    """The value of a dotted name, `ABSENT` if there is none."""
    for part in name.split("."):
        if not isinstance(values, dict) or part not in values:
            return ABSENT
        values = values[part]
    return values


def _meaning(name: str, meanings: dict[str, str], values: dict[str, Any]) -> str:
    """The longest comment, with its options if others have the key without it."""
    text = max(meanings.values(), key=len)
    users = [key for key in _roots(values) if _value(name, values[key]) is not ABSENT]
    tellers = [key for key in users if meanings.get(key, "") and meanings[key] in text]
    return text if tellers == users else f"{text} ({', '.join(tellers)})"


def _defaults(name: str, values: dict[str, dict[str, Any]]) -> str:
    """What the options say of a key; each with its options unless all say the same.

    An option that builds on another of its group is named only where it differs.
    """
    said: dict[str, list[str]] = {}
    for option, content in values.items():
        shown = _shown(_value(name, content))
        if shown:
            said.setdefault(shown, []).append(option)
    told = []
    for value, options in said.items():
        everywhere = set(_roots(values)) <= set(options)
        told.append(value if everywhere else f"{value} ({', '.join(options)})")
    return "; ".join(told)


def _roots(values: dict[str, dict[str, Any]]) -> list[str]:
    """The options that have keys of their own and do not build on another one."""

    def builds_on_one(content: dict[str, Any]) -> bool:
        names = [str(name).partition("@")[0] for name in content.get("defaults", ())]
        return any(name in values for name in names)

    return [
        key for key, content in values.items() if content and not builds_on_one(content)
    ]


def _shown(value: Any) -> str:
    """A value as it stands in a table; of a range both ends, of other nodes nothing."""
    if value is ABSENT:
        return ""
    if isinstance(value, dict):
        if not {"low", "high"} & set(value):
            return ""
        low, high = value.get("low"), value.get("high")
        return f"`{high}`" if low in (None, high) else f"`{low}` to `{high}`"
    return "`null`" if value is None else f"`{_plain(value)}`"


def _plain(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _cell(text: str) -> str:
    return text.replace("|", r"\|").strip()
