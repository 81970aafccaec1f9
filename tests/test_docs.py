"""What the documentation says is what the program does."""

import re
import shlex
import sys

import pytest
from conftest import ROOT

from so101rl.composition import compose

sys.path.insert(0, str(ROOT / "docs"))

PAGES = [
    ROOT / "README.md",
    ROOT / "benchmarks" / "README.md",
    *ROOT.glob("experiments/*/README.md"),
]


def documented() -> list[str]:
    """Every `python main.py ...` of the pages, continued lines joined."""
    text = "\n".join(page.read_text() for page in PAGES).replace("\\\n", " ")
    found = re.findall(r"^python main\.py (.*)$", text, re.MULTILINE)
    return sorted({line.split("#")[0].strip() for line in found})


@pytest.mark.parametrize("command", documented())
def test_documented_commands_compose(command):
    words = shlex.split(command)
    if "--help" in words:
        return
    sweep = "-m" in words
    plain = [word for word in words if word != "-m" and not word.startswith("run=")]
    if sweep:
        plain = [re.sub(r"=([^,]*),.*", r"=\1", word) for word in plain]
        plain = [word for word in plain if not word.startswith("hydra.")]
    assert compose(plain).job


def test_pages_show_the_tables_as_they_are():
    import update

    for page in update.PAGES:
        text = page.read_text()
        assert "<!-- table: " in text, page
        assert update.with_tables(text) == text, page


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.parent.name)
def test_links_lead_somewhere(page):
    for target in re.findall(r"\]\(([^)#]+)\)", page.read_text()):
        if "://" not in target:
            assert (page.parent / target).exists(), target
