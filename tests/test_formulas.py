"""Each tagged formula: in the code, in the derivations, and in the audit under the same name."""

import re
from pathlib import Path

import numpy as np
import pytest

from numaml import check
from numaml.check import audit
from numaml.command import main as cli

ROOT = Path(__file__).parents[1]
CORE = ("primitives", "normalisation", "factored", "mlp", "maml", "training", "blocks")
TAG = re.compile(r"\(([A-Z]\d)\)")


@pytest.mark.parametrize("formula", audit.CHECKS)
def test_formula(formula):
    _, bound, error = audit.CHECKS[formula]
    assert error() <= bound


def tags_in_code():
    lines = [
        line for name in CORE for line in (ROOT / "numaml" / f"{name}.py").read_text().splitlines()
    ]
    return {tag for line in lines if "  # (" in line for tag in TAG.findall(line.split("#")[1])}


def definitions():
    text = "\n".join(path.read_text() for path in sorted((ROOT / "derivations").glob("*.md")))
    return re.findall(r"^\*\*\(([A-Z]\d)\)\*\*", text, re.MULTILINE)


def test_code_derivations_and_audit_have_the_same_tags():
    defined = definitions()
    assert sorted(set(defined)) == sorted(defined), "a formula is defined twice"
    assert set(defined) == tags_in_code()
    assert set(defined) == {formula[1:3] for formula in audit.CHECKS}


def test_derivations_mention_no_unknown_tag():
    for path in (ROOT / "derivations").glob("*.md"):
        assert set(TAG.findall(path.read_text())) <= set(definitions()), path.name


def test_derivations_keep_tags_out_of_the_mathematics():
    for path in (ROOT / "derivations").glob("*.md"):
        for fence in re.findall(r"```math\n(.*?)```", path.read_text(), re.DOTALL):
            assert not TAG.search(fence), (path.name, fence)


def test_derivations_paste_no_library_code():
    bodies = {
        line.split("  #")[0].strip()
        for name in ("params", "primitives", "mlp", "maml")
        for line in (ROOT / "numaml" / f"{name}.py").read_text().splitlines()
        if "  # (" in line
    }
    for path in (ROOT / "derivations").glob("*.md"):
        for line in re.findall(r"^(?:>>>|\.\.\.) (.*)$", path.read_text(), re.MULTILINE):
            assert line.strip() not in bodies, (path.name, line)


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
    wrong = {**audit.CHECKS, "(M3) meta-gradient, K = 3": ("planted", 1e-13, lambda: np.nan)}
    monkeypatch.setattr(audit, "CHECKS", wrong)
    assert cli.main(["check"]) == 1
    assert "WRONG" in capsys.readouterr().out
