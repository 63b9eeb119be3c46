"""Formula, textbook, library, check and planted bug of every tag, side by side, as HTML.

    python derivations/book/side_by_side.py FILE

writes the page that a wheel carries and ``numaml read`` opens. What an audit measures is no part of
it, so that a commit gives the same page everywhere: it has a mark where each error is to stand.
"""

import difflib
import html
import re
import sys
from pathlib import Path

import mathml
from formulas import ROOT, TAG, formulas

STYLE = Path(__file__).with_name("static") / "side-by-side.css"
TOKEN = re.compile(r"\s*(\w+(?:\[[^\]]*\])?|[^\w\s])")  # z[l - 1] is one
TANGENT = re.compile(r"^R\{([A-Z]\d+)\}")
NAMES = {"textbook": "Textbook", "library": "Library"}
NOT_THERE = "The textbook, which is plain MAML with dense matrices, does without it."
LEAD = (
    "Each row is one formula. First it stands as it was derived, then the lines of the "
    "<em>textbook</em>, which is exact MAML on one page, and those of the <em>library</em>, which "
    "are run. Below: the check that judges the library's lines by a method that does not use the "
    "formula, with its error, and a bug that was planted in these lines and caught by that check."
)


def page(every, style):
    """The whole page, which needs no other file and no network."""
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        "<title>numaml, side by side</title>\n"
        f"<style>\n{style}</style>\n</head>\n"
        '<body class="alone">\n<main>\n<h1>numaml, side by side</h1>\n'
        f"<p>{LEAD}</p>\n{rows(every)}\n"
        f"<h2>The passes, and their tangents</h2>\n{overlaid(every)}\n</main>\n</body>\n</html>\n"
    )


def rows(every, link=lambda code: None, href=lambda formula: None):
    """All tags, and a row for each; ``link`` and ``href`` say where its code and its page are.

    A mark stands for each error: ``<!--error of NAME-->``.
    """
    tags = " ".join(f'<a href="#{one.tag}">{one.tag}</a>' for one in every)
    return "\n".join([f'<nav class="tags">{tags}</nav>', *(_row(one, link, href) for one in every)])


def _row(formula, link, href):
    words = _words(formula.words)
    title = html.escape(formula.title)
    source = _linked(title, href(formula))
    parts = [
        f'<article class="formula" id="{formula.tag}">',
        f"<h3>({formula.tag}) {html.escape(name(formula))}</h3>",
        f'<div class="cell derived"><h4>Derived</h4><p>{words} <small>({source})</small></p>',
        *(mathml.block(one) for one in mathml.apart(formula.math) if one),
        "</div>",
        *(_code(which, getattr(formula, which), link) for which in NAMES),
        '<div class="cell checked"><h4>Checked by</h4><ul>',
        *(f"<li>{html.escape(one.method)}{_of(one, formula)}: error "
          f"<!--error of {html.escape(one.name)}--></li>"
          for one in formula.checks),
        "</ul></div>",
        _planted(formula),
        "</article>",
    ]  # fmt: skip
    return "\n".join(part for part in parts if part)


def name(formula):
    """What the audit calls it."""
    return TAG.sub("", formula.checks[0].name).split(",")[0].strip()


def _of(check, formula):
    """What tells one of several checks from the others."""
    rest = check.name.partition(",")[2]
    return f" ({html.escape(rest.strip())})" if rest and len(formula.checks) > 1 else ""


def _linked(text, href):
    return f'<a href="{html.escape(href)}">{text}</a>' if href else text


def _words(text):
    """A definition's words in HTML: code in backticks, emphasis and links are all they have."""
    text = re.sub(r"\[([^\]]+)\]\([^)]*\)", r"\1", " ".join(text.split()))
    text = re.sub(r"`([^`]*)`", r"<code>\1</code>", html.escape(text, quote=False))
    return re.sub(r"\*([^*]+)\*", r"<em>\1</em>", text)


def _code(which, codes, link):
    shown = [
        f'<p class="where">{_linked(f"{one.file}, line {one.line}", link(one))}</p>'
        f'<pre tabindex="0">{coloured(one.text)}</pre>'
        for one in codes
    ] or [f"<p>{NOT_THERE}</p>"]
    return f'<div class="cell {which}"><h4>{NAMES[which]}</h4>{"".join(shown)}</div>'


def _planted(formula):
    first, *rest = formula.bugs
    others = f"<p>And {len(rest)} more.</p>" if rest else ""
    return (
        '<div class="cell planted"><h4>A bug it catches</h4>'
        f'<pre tabindex="0"><del>{html.escape(first.text)}</del>\n'
        f"<ins>{html.escape(first.bug)}</ins></pre>{others}</div>"
    )


def coloured(text):
    """Code in HTML, with its tangents and its comments told from the rest."""
    lines = []
    for line in text.splitlines():
        code, hash_, comment = line.partition("  #")
        code = re.sub(r"\b\w+_dot\b", r"<b>\g<0></b>", html.escape(code, quote=False))
        comment = f"<i>{html.escape(hash_ + comment, quote=False)}</i>" if hash_ else ""
        lines.append(code + comment)
    return "\n".join(lines)


# A pass over its tangent


def overlaid(every):
    """Each formula of the passes over its tangent, matching letters in one column."""
    by_tag = {one.tag: one for one in every}
    pairs = [(by_tag[found[1]], one) for one in every if (found := TANGENT.match(one.words))]
    return "\n".join(
        f'<article class="pair"><h3>({upper.tag}) over ({lower.tag}) = R{{{upper.tag}}}</h3>'
        f'<div class="cell derived"><h4>Derived</h4>{mathml.block(lower.math)}</div>'
        f"{_over('textbook', upper, lower)}{_over('library', upper, lower)}</article>"
        for upper, lower in pairs
    )


def _over(which, upper, lower):
    lines = []
    for one, other in matched(*(statements(getattr(each, which)) for each in (upper, lower))):
        lines += [*over(one, other), ""] if one and other else [one or other, ""]
    text = coloured("\n".join(lines).rstrip())
    return f'<div class="cell {which}"><h4>{NAMES[which]}</h4><pre tabindex="0">{text}</pre></div>'


def statements(codes):
    """Lines of code without comments and heads of blocks."""
    lines = [line.split("  #")[0].strip() for code in codes for line in code.text.splitlines()]
    return [line for line in lines if line and not line.endswith(":")]


def matched(uppers, lowers):
    """Each line with the line whose left side is the tangent of its; both in their own order."""
    left = list(lowers)
    for one in uppers:
        at = next((i for i, line in enumerate(left) if plain(_target(line)) == _target(one)), None)
        if at is None:
            yield one, None
        else:
            yield from ((None, line) for line in left[:at])
            yield one, left[at]
            left = left[at + 1 :]
    yield from ((None, line) for line in left)


def _target(line):
    return line.split(" = ")[0].split("[")[0]


def plain(word):
    """A tangent's letter without its dot."""
    return word.replace("_dot", "")


def over(upper, lower):
    """The two lines, spaced out so that what is the same but for the dot stands in one column."""
    a, b = ([found[1] for found in TOKEN.finditer(line)] for line in (upper, lower))
    at, bt = ([found[0] for found in TOKEN.finditer(line)] for line in (upper, lower))
    match = difflib.SequenceMatcher(None, list(map(plain, a)), list(map(plain, b)), autojunk=False)
    top = bottom = ""
    for kind, i, j, k, l in match.get_opcodes():
        if kind == "equal":
            for one, other in zip(at[i:j], bt[k:l], strict=True):
                width = max(len(top), len(bottom))
                top, bottom = top.ljust(width) + one, bottom.ljust(width) + other
        else:
            top, bottom = top + "".join(at[i:j]), bottom + "".join(bt[k:l])
    return top.rstrip(), bottom.rstrip()


def main(arguments):
    """Write the page."""
    (file,) = arguments or ["side-by-side.html"]
    text = page(formulas(ROOT), STYLE.read_text(encoding="utf-8"))
    Path(file).write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
