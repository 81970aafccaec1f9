"""The documentation shows what the program does."""

import re
import shlex
import sys

import pytest
from conftest import CONF, ROOT

from so101rl.config.compose import compose

sys.path.insert(0, str(ROOT / "docs"))

import reference
import update

PAGES = [*update.PAGES, ROOT / "CONTRIBUTING.md", *ROOT.glob("experiments/*/README.md")]
HELP = ROOT / "conf/hydra/help/so101rl.yaml"
# Keys whose value in the documentation is a file of the reader's.
PLACEHOLDERS = re.compile(r"^(run|init_from|replay|prune|checkpoint)=")
NO_COMMANDS = ("--help", "-sc", "group=option", "[group=option")
EXAMPLES = {  # options that tests/test_extending.py adds
    f"{path.parent.name}={path.stem}"
    for path in ROOT.glob("docs/examples/*/conf/*/*.yaml")
}


def name(page) -> str:
    return page.relative_to(ROOT).as_posix()


def documented() -> list[str]:
    """Every `python main.py ...` of pages and help, continued lines joined."""
    text = "\n".join(page.read_text() for page in [*PAGES, HELP])
    text = text.replace("\\\n", " ")
    lines = re.findall(r"^ *python main\.py(.*)$", text, re.MULTILINE)
    quoted = re.findall(r"`python main\.py([^`]*)`", text)
    found = [re.split(r"#|\s{2,}", line)[0].strip() for line in lines]
    found += [" ".join(words.split()) for words in quoted]
    left_out = {*NO_COMMANDS, *EXAMPLES}
    return sorted({line for line in found if not left_out & set(line.split())})


def words_of(command: str) -> tuple[str, ...]:
    """What of a command composes, with the first of several values."""
    words = [word for word in shlex.split(command) if word not in ("-m", "--dry-run")]
    if "--cfg" in words:
        words = words[: words.index("--cfg")]
    if "-m" in command.split():
        words = [re.sub(r"=(choice\()?([^,\[]*),.*", r"=\2", word) for word in words]
    words = [word for word in words if not word.startswith("hydra.")]
    for word in words:
        assert "=" in word, f"{word}: text runs into the command"
    return tuple(word for word in words if not PLACEHOLDERS.match(word))


def test_documented_commands_compose():
    commands = {words_of(command) for command in documented()}
    assert len(commands) > 30
    for words in commands:
        assert compose(words).job


@pytest.mark.parametrize("page", update.PAGES, ids=name)
def test_pages_show_tables_and_files_as_they_are(page):
    text = page.read_text()
    assert update.filled(text) == text, "run: python docs/update.py"


def test_every_group_option_example_and_page_is_shown():
    text = (ROOT / "docs/config.md").read_text()
    for path in ROOT.glob("conf/**/*.yaml"):
        group = path.parent.relative_to(CONF).as_posix()
        if group != "." and not group.startswith("hydra/"):
            assert f"`{group}={path.stem}`" in text
    text = (ROOT / "docs/extending.md").read_text()
    for path in ROOT.glob("docs/examples/**/*.*"):
        if path.suffix in (".py", ".yaml"):
            assert f"<!-- file: {path.relative_to(ROOT).as_posix()} -->" in text
    index = (ROOT / "docs/README.md").read_text()
    for page in (ROOT / "docs").glob("*.md"):
        assert f"]({page.name})" in index or page.name == "README.md"


def test_a_table_of_keys_has_values_and_comments_of_the_yaml(monkeypatch, tmp_path):
    monkeypatch.setattr(reference, "CONF", tmp_path)
    (tmp_path / "arm").mkdir()
    (tmp_path / "arm/long.yaml").write_text(
        "# Reaches far. And more.\nsize: 2.0  # length [m],\n           # of all\n"
        "name: x\nterm:  # both ways\n  low: -1\n  high: 1\nnone: null  # off | on\n"
    )
    (tmp_path / "arm/short.yaml").write_text(
        "# @package _global_\n# Short.\narm:\n  defaults: [long]\n  size: 1.0  # [m]\n"
    )
    table = reference.group_table("arm").splitlines()
    assert table[2:4] == ["| `arm=long` | Reaches far |", "| `arm=short` | Short |"]
    assert table[7:] == [
        "| `arm.size` | `2.0`; `1.0` (short) | length [m], of all |",
        "| `arm.term` | `-1` to `1` | both ways |",
        r"| `arm.none` | `null` | off \| on |",
    ]


def anchors(page) -> set[str]:
    """The names that a page's headings have in links, as GitHub makes them."""
    headings = re.findall(r"^#+ (.*)$", page.read_text(), re.MULTILINE)
    plain = [re.sub(r"[^\w\- ]", "", heading.lower()) for heading in headings]
    return {heading.replace(" ", "-") for heading in plain}


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_links_lead_somewhere(page):
    for target in re.findall(r"\]\(([^)]+)\)", page.read_text()):
        if "://" in target:
            continue
        file, _, anchor = target.partition("#")
        path = page.parent / file if file else page
        assert path.exists(), target
        assert not anchor or anchor in anchors(path), target
