"""Each tagged formula: in both texts, in the derivations, and in the audit under the same name."""

import re

import numpy as np
import pytest

from numaml import check
from numaml.check import audit
from numaml.command import main as cli

from .house import HOUSE, ROOT, code_lines, room

PAGES = sorted((ROOT / "derivations").glob("*.md"))
TEXTBOOK = {"textbook": HOUSE["textbook"]}
LIBRARY = {name: source for name, source in HOUSE.items() if name not in TEXTBOOK}
# Formulas that the textbook does without: it multiplies out every weight, has one rate for all,
# and neither images nor policies.
NOT_IN_THE_TEXTBOOK = {"W1", "W2", "W3", "C1", "C2"}
NOT_IN_THE_TEXTBOOK |= {"L3", "L4", "J1", "J2", "T1", "T2", "P1", "P2", "P3", "P4"}
NOT_IN_THE_TEXTBOOK |= {"G1", "G2", "G3", "G4", "G5", "G6", "G7"}
TAG = re.compile(r"\(([A-Z]\d)\)")
OF_FORMULAS = {"textbook", "maml", "network", "weights", "family"}  # rooms
SHORT = 20  # fewer characters are nobody's: ``return theta``


@pytest.mark.parametrize("formula", audit.CHECKS)
def test_formula(formula):
    _, bound, error = audit.CHECKS[formula]
    assert error() <= bound


def tags(sources):
    """Tags at lines of code."""
    lines = [line for source in sources.values() for line in source.splitlines()]
    return {tag for line in lines if "  # (" in line for tag in TAG.findall(line.split("  #")[1])}


def definitions():
    text = "\n".join(page.read_text() for page in PAGES)
    return re.findall(r"^\*\*\(([A-Z]\d)\)\*\*", text, re.MULTILINE)


def test_both_texts_the_derivations_and_the_audit_have_the_same_tags():
    defined = definitions()
    assert sorted(set(defined)) == sorted(defined), "a formula is defined twice"
    assert set(defined) == tags(LIBRARY)
    assert set(defined) == {formula[1:3] for formula in audit.CHECKS}
    assert set(defined) - NOT_IN_THE_TEXTBOOK == tags(TEXTBOOK)


def test_notation_lists_every_tag_with_the_page_that_defines_it():
    table = (ROOT / "derivations/0-notation.md").read_text().split("## All tags")[1]
    for tags_, page in re.findall(r"^\| (\(.*?) \|.*\]\((\S+\.md)", table, re.MULTILINE):
        for tag in TAG.findall(tags_):
            assert f"**({tag})**" in (ROOT / "derivations" / page).read_text(), (tag, page)
    assert sorted(TAG.findall(table)) == sorted(definitions())


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_derivations_mention_no_unknown_tag(page):
    assert set(TAG.findall(page.read_text())) <= set(definitions())


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_derivations_keep_tags_out_of_the_mathematics(page):
    for fence in re.findall(r"```math\n(.*?)```", page.read_text(), re.DOTALL):
        assert not TAG.search(fence), fence


def code_of_the_formulas():
    """Lines of code where formulas stand, but for short ones, imports and heads of blocks."""
    for name, source in HOUSE.items():
        for number in code_lines(source) if room(name) in OF_FORMULAS else ():
            line = source.splitlines()[number - 1].split("  #")[0].strip()
            if len(line) >= SHORT and not (
                line.startswith(("from ", "import ")) or line[-1] == ":"
            ):
                yield line


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_derivations_paste_no_library_code(page):
    """A page calls the textbook: a third text would be one that nothing holds to the others."""
    shown = re.findall(r"^(?:>>>|\.\.\.) (.*)$", page.read_text(), re.MULTILINE)
    pasted = {line.split("  #")[0].strip() for line in shown} & set(code_of_the_formulas())
    assert not pasted


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_derivations_are_linked_to_headings_that_are_there(page):
    def anchors(text):
        headings = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
        return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}

    for name, anchor in re.findall(r"\]\(([\w./-]*\.md)#([\w-]+)\)", page.read_text()):
        assert anchor in anchors((page.parent / name).read_text()), (name, anchor)


# The kit's own parts


def test_relative_error_refuses_to_broadcast_and_to_hide_a_nan():
    with pytest.raises(ValueError, match=r"\(3, 1\).*\(3,\)"):
        check.relative_error(np.ones((3, 1)), np.ones(3))
    assert check.relative_error([np.nan, 1], [1, 1]) == np.inf
    assert check.relative_error([0.5], [0.0]) == 0.5


def test_central_difference_estimates_its_error_and_a_kink_shows():
    derivative, error = check.central_difference(np.exp, 0.3, 1.0)
    assert abs(derivative - np.exp(0.3)) <= error < 1e-8
    _, error = check.central_difference(np.abs, 2e-5, 1.0)
    assert error > 0.01


def test_field_is_a_field():
    a, b = check.Mod(123456789), check.Mod(-5)
    assert a / 7 * 7 == a
    assert (a + b) * (a - b) == a * a - b * b
    assert 3 - a == -(a - 3)
    assert a / b * b == a
    assert hash(check.Mod(5)) == hash(check.Mod(5 + check.Mod.p))
    assert check.Mod(1) != 1.0
    with pytest.raises(ValueError, match="not invertible"):
        a / check.Mod.p
    for spoil in (lambda: a + 0.5, lambda: a * 0.5, lambda: a / 2.0):
        with pytest.raises(TypeError):
            spoil()


def test_numaml_check_of_a_wrong_row_fails(monkeypatch, capsys):
    wrong = {
        **dict(list(audit.CHECKS.items())[:3]),
        "(M3) meta-gradient, K = 3": ("planted", 1e-13, lambda: np.nan),
    }
    monkeypatch.setattr(audit, "CHECKS", wrong)
    assert cli.main(["check"]) == 1
    assert "WRONG" in capsys.readouterr().out
