"""The book: a README that opens doors, tags that resolve everywhere, pages that run."""

import html
import re
import shutil
import xml.etree.ElementTree as ET

import pytest

from numaml.check import audit
from numaml.command import main as cli
from numaml.command import read

from .house import ROOT

LINES, CHARACTERS = 120, 9000  # of the README: what is longer stands beside its example
BYTES = 300_000  # of the page in a wheel
DOORS = ("Read it", "Check yours", "Use it on your tasks", "Ship it")
BOOK = ROOT / "derivations" / "book"


@pytest.fixture(autouse=True)
def _book(monkeypatch):
    monkeypatch.syspath_prepend(BOOK)


@pytest.fixture
def side_by_side():
    pytest.importorskip("latex2mathml", reason="latex2mathml, which makes MathML, is not installed")
    import side_by_side

    return side_by_side


def test_the_readme_is_short_and_has_four_doors():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert len(text.splitlines()) <= LINES
    assert len(text) <= CHARACTERS
    for door in DOORS:
        (section,) = re.findall(rf"^## {door}\n(.*?)^## ", text, re.MULTILINE | re.DOTALL)
        assert re.search(r"\]\([\w/.-]+\.md[)#]", section), f"{door} leads nowhere"


# Side by side


def test_every_tag_resolves():
    import formulas

    found = {one.tag: one for one in formulas.formulas()}
    assert {f"({tag})" for tag in found} == {name.split()[0] for name in audit.CHECKS}
    step = found["M3"]
    assert step.math == r"\lambda_k = \lambda_{k+1} - \alpha\, H_k \lambda_{k+1}"
    assert [one.text for one in step.textbook] == [
        "lams.append(lams[-1] - alpha * hvp(lams[-1]))  # (M3)"
    ]
    assert step.library[0].file == "numaml/maml.py"
    assert {one.name for one in step.checks} == {name for name in audit.CHECKS if "M3" in name}
    assert [one for one in step.bugs if one.file == "numaml/maml.py" and "alpha" in one.bug]
    lines = [one.text.splitlines() for one in found["R1"].library]
    assert len(lines[0]) == 5  # all that leads to z_dot, and not the line of (R2) after it


@pytest.mark.parametrize(
    ("file", "text", "instead", "complaint"),
    [
        ("derivations/2-r-operator.md", "**(R2)**", "(R2)", "(R2): no page"),
        ("numaml/textbook.py", "  # (R2)", "", "(R2), 2-r-operator.md: no line of numaml/textbook"),
        ("numaml/network/passes.py", "  # (R2) = R{F2}", "", "no line of the library"),
        ("numaml/check/audit.py", '"(R2) ', '"(R9) ', "audit.py has no row"),
        ("tests/test_planted_bugs.py", '"(R2)"', '"(R9)"', "plants no bug"),
    ],
)
def test_a_tag_that_does_not_resolve_is_told(tmp_path, file, text, instead, complaint):
    import formulas

    kept = shutil.ignore_patterns("__pycache__", "vectors", "book", "check", "command", "data")
    for folder in ("derivations", "numaml"):
        shutil.copytree(ROOT / folder, tmp_path / folder, ignore=kept)
    for pattern in ("numaml/check/audit*.py", "tests/test_planted*.py", "tests/test_formulas.py"):
        for path in ROOT.glob(pattern):
            (tmp_path / path.relative_to(ROOT)).parent.mkdir(exist_ok=True)
            shutil.copy(path, tmp_path / path.relative_to(ROOT))
    source = (tmp_path / file).read_text()
    assert source.count(text) == 1
    (tmp_path / file).write_text(source.replace(text, instead))
    with pytest.raises(LookupError) as told:
        formulas.formulas(tmp_path)
    assert complaint in str(told.value)
    assert "(M3)" not in str(told.value)


def test_the_page_has_a_row_for_every_tag_and_a_mark_for_every_error(side_by_side):
    import formulas

    every = formulas.formulas()
    text = side_by_side.page(every, "")
    assert len(text.encode()) < BYTES
    assert re.findall(r'<article class="formula" id="(\w+)">', text) == [one.tag for one in every]
    assert {html.unescape(one) for one in read.MARK.findall(text)} == set(audit.CHECKS)
    formula = re.findall(r"<math.*?</math>", text, re.DOTALL)
    assert len(formula) >= len(every)
    for one in formula:
        assert "\\" not in ET.canonicalize(one)  # what is not known to MathML stays as it is
    assert not re.search(r"(src|href)=\"(?!#)", text)  # it needs no other file


@pytest.mark.parametrize("font", [r"\mathcal R", r"\mathsf T", r"\mathbf{1}"])
def test_letters_of_a_font_are_characters(side_by_side, font):
    import mathml

    assert "mathvariant" not in mathml.block(font)


def test_what_mathml_does_not_know_is_told(side_by_side):
    import mathml

    assert "\\" not in mathml.block(r"\Bigl\{ \begin{aligned} a &= b \end{aligned} \Bigr\}")
    for latex in (r"\nonsense", r"\begin{nonsense} a & b \end{nonsense}"):
        with pytest.raises(ValueError, match="does not know"):
            mathml.block(latex)


def test_formulas_in_a_line_are_told_apart(side_by_side):
    import mathml

    assert mathml.apart(r"a = b, \qquad c") == ["a = b", "c"]
    inner = r"\begin{cases} a \qquad b \end{cases}"
    assert mathml.apart(inner) == [inner]


def test_a_line_over_its_tangent_has_equal_letters_in_one_column(side_by_side):
    upper, lower = side_by_side.over("z[l] = N[l].q + b[l]", "z_dot[l] = q_dot[l] + b_dot[l]")
    assert upper.replace(" ", "") == "z[l]=N[l].q+b[l]"
    assert [upper.index(one) for one in "=+"] == [lower.index(one) for one in "=+"]
    assert upper.index("b[l]") == lower.index("b_dot[l]")
    pairs = list(side_by_side.matched(["a = x", "z = a"], ["z_dot = a_dot", "q_dot = 1"]))
    assert pairs == [("a = x", None), ("z = a", "z_dot = a_dot"), (None, "q_dot = 1")]
    pairs = list(side_by_side.matched(["z = a"], ["q_dot = 1", "z_dot = q_dot"]))
    assert pairs == [(None, "q_dot = 1"), ("z = a", "z_dot = q_dot")]


# The page in a wheel


def test_numaml_read_fills_in_the_errors_and_opens_the_page(tmp_path, monkeypatch, capsys):
    page, opened = tmp_path / "side-by-side.html", []
    monkeypatch.setattr(read, "PAGE", page)
    monkeypatch.setattr(read, "BUILT", tmp_path / "built.html")
    monkeypatch.setattr(read.webbrowser, "open", opened.append)
    monkeypatch.setattr(read, "audit", lambda: [audit.Row("(A0) a > b", "by hand", 2e-16, 1e-13)])
    assert cli.main(["read"]) == 2
    assert "derivations/book/make.py" in capsys.readouterr().err
    read.BUILT.touch()
    assert cli.main(["read"]) == 0
    assert opened.pop() == read.BUILT.as_uri()
    assert str(read.BUILT) in capsys.readouterr().out
    page.write_text("α: <!--error of (A0) a &gt; b-->", encoding="utf-8")
    assert cli.main(["read"]) == 0
    assert len(opened) == 1
    assert opened[0].startswith("file://")
    out = tmp_path / "out.html"
    assert cli.main(["read", "--out", str(out)]) == 0
    assert out.read_text(encoding="utf-8") == "α: 2e-16 (allowed: 1e-13)"
    assert str(out) in capsys.readouterr().out
    assert len(opened) == 1
    assert cli.main(["read", "--out", str(out)]) == 2
    assert "name another file" in capsys.readouterr().err


# Notebooks, and links


def test_pages_and_textbook_run_as_notebooks():
    pytest.importorskip("jupytext", reason="jupytext, which makes notebooks, is not installed")
    import nbformat
    import notebooks

    every = notebooks.every()
    assert set(every) > {"textbook", "0-notation", "is-it-second-order"}
    for name, notebook in every.items():
        nbformat.validate(notebook)
        space = {"__name__": name}
        cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
        assert cells, name
        for cell in cells:
            code = compile(cell.source, f"{name}, {cell.id}", "exec")
            if "raises-exception" in cell.metadata.get("tags", ()):
                with pytest.raises(Exception, match=r"\w"):
                    exec(code, space)  # noqa: S102  # the page's own
            else:
                exec(code, space)  # noqa: S102
    assert every["0-notation"].cells[0].source.startswith("# Notation")


def test_a_dead_link_is_found(tmp_path):
    import make

    (tmp_path / "a.html").write_text(
        '<p id="here"><a href="b.html#there">1</a> <a href="#here">2</a> <a href="c.html">3</a>'
        '<a href="b.html#gone">4</a> <script src="https://a.b/c.js"></script>'
    )
    (tmp_path / "b.html").write_text('<a href="https://d.e/f" id="there"></a>')
    assert make.dead_links(tmp_path) == [
        "a.html: b.html#gone leads nowhere",
        "a.html: c.html leads nowhere",
        "a.html: https://a.b/c.js is elsewhere",
    ]
