"""The documentation shows what the program does."""

import re
import shlex
import sys

from conftest import CONF, ROOT

from so101rl.config.compose import compose

sys.path.insert(0, str(ROOT / "docs"))

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
    words = words[: words.index("--cfg")] if "--cfg" in words else words
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


def test_pages_show_tables_and_files_as_they_are():
    for page in update.PAGES:
        text = page.read_text()
        assert update.filled(text) == text, f"{page}: run: python docs/update.py"


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


def test_links_lead_somewhere():
    for page in PAGES:
        for target in re.findall(r"\]\(([^):]+)\)", page.read_text()):
            file, _, anchor = target.partition("#")
            path = page.parent / file if file else page
            assert path.exists(), target
            if anchor:  # as GitHub makes them of headings
                headings = re.findall(r"^#+ (.*)$", path.read_text(), re.MULTILINE)
                plain = [re.sub(r"[^\w\- ]", "", text.lower()) for text in headings]
                assert anchor.replace("-", " ") in [p.replace("-", " ") for p in plain]
