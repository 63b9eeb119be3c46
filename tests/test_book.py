"""The pages as a book: a README that opens doors."""

import re

from .house import ROOT

LINES, CHARACTERS = 120, 9000  # of the README: what is longer stands beside its example
DOORS = ("Read it", "Check yours", "Use it on your tasks", "Ship it")


def test_the_readme_is_short_and_has_four_doors():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert len(text.splitlines()) <= LINES
    assert len(text) <= CHARACTERS
    for door in DOORS:
        (section,) = re.findall(rf"^## {door}\n(.*?)^## ", text, re.MULTILINE | re.DOTALL)
        assert re.search(r"\]\([\w/.-]+\.md[)#]", section), f"{door} leads nowhere"
