"""What the book does beside what Sphinx does: a local extension.

- ``{names}`` in a page stands for the docstrings of the names listed in it.
- ``{side-by-side}`` and ``{overlaid}`` are the rows of `side_by_side`, errors measured here.
- ``<!-- chapters -->`` and ``<!-- topics -->`` in a list of contents stand for the pages there are,
  ``<!-- help -->`` for what every command says.
- Links to sources lead to pages that show them; words of the glossary are linked where a page has
  them first, and tags to their rows; mathematics is MathML.
"""

import argparse
import importlib
import inspect
import re
from functools import cache, reduce
from pathlib import Path

import formulas
import mathml
import side_by_side
from docutils import nodes
from docutils.parsers.rst import Directive
from sphinx import addnodes
from sphinx.transforms import SphinxTransform

ROOT = formulas.ROOT
NAMES = re.compile(r"^```\{names\} *\n(.*?)^```", re.MULTILINE | re.DOTALL)
FILE = re.compile(r"[\w.-]+(/[\w.-]+)+\.\w+")  # as in ``derivations/0-notation.md``
SHOWN = "source"  # folder of the pages that show sources
GLOSSARY, SIDE_BY_SIDE = "derivations/book/glossary", "derivations/book/side-by-side"
ENTRY = re.compile(r"^\S.*$", re.MULTILINE)


def setup(app):
    """Tell Sphinx of all this."""
    app.add_directive("side-by-side", SideBySide)
    app.add_directive("overlaid", Overlaid)
    app.add_html_math_renderer("mathml", (_inline_math, None), (_block_math, None))
    app.add_transform(SourceLinks)
    app.add_transform(WordLinks)
    app.connect("source-read", _read)
    app.connect("autodoc-process-docstring", _docstring, priority=400)  # before numpydoc
    app.connect("html-collect-pages", _source_pages)
    app.connect("build-finished", _front)
    return {"parallel_read_safe": True, "parallel_write_safe": True}


# Pages as they are read


def _read(app, docname, source):
    text = source[0] + CONTENTS.get(docname, "")
    if not text.startswith("# "):  # a table that a script wrote
        text = f"# {docname.split('/')[-1].capitalize()}: the table\n\n{text}"
    text = NAMES.sub(lambda found: _documented(found[1].split()), text)
    if "<!-- help -->" in text:
        text = text.replace("<!-- help -->", _help())
    text = text.replace("<!-- chapters -->", "\n".join(chapters()))
    text = text.replace("<!-- topics -->", "\n".join(topics()))
    source[0] = text


# Contents of pages that are read elsewhere too, where they need none.
CONTENTS = {
    "README": """
```{toctree}
:hidden:

derivations/book/read
derivations/book/check
derivations/book/use
examples/README
derivations/book/reference
derivations/book/questions
derivations/book/glossary
derivations/book/project
```
""",
    "examples/README": """
```{toctree}
:hidden:

<!-- topics -->
```
""",
}


def chapters():
    """The numbered derivations in their order."""
    pages = [page for page in formulas.pages() if page.name[0].isdigit()]
    return [f"/derivations/{page.stem}" for page in pages]


def topics():
    """Every README of a topic in examples/, and the tables measured beside it."""
    pages = sorted(ROOT.glob("examples/*/*.md"), key=lambda page: (page.parent, page.stem))
    return [f"/{page.relative_to(ROOT).with_suffix('').as_posix()}" for page in pages]


def _helped(parser):
    """Sections with what the command, and every command under it, says of itself."""
    yield f"## {parser.prog}\n\n```text\n{parser.format_help()}```"
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for below in action.choices.values():
                yield from _helped(below)


def _help():
    from numaml.command.main import parser

    return "\n\n".join(_helped(parser()))


def _documented(names):
    lines = ["```{eval-rst}"]
    for name in names:
        kind = "class" if inspect.isclass(_named(name)) else "function"
        lines += [f".. auto{kind}:: {name}", ""]
    return "\n".join([*lines, "```"])


def _named(name):
    """What a dotted name of ours is."""
    return reduce(getattr, name.split(".")[1:], importlib.import_module("numaml"))


def _docstring(app, what, name, obj, options, lines):
    """Bars, underscores and single stars are themselves, but in code and around a word."""
    lines[:] = map(_literal, lines)


def _literal(line):
    if line.lstrip().startswith((">>>", "...")):
        return line
    pieces = re.split(r"(``.*?``|`.*?`)", line)
    for i in range(0, len(pieces), 2):
        pieces[i] = re.sub(r"(?<!\\)\|", r"\\|", pieces[i])
        pieces[i] = re.sub(r"(\w)_(?!\w)", r"\1\\_", pieces[i])
        pieces[i] = re.sub(r"(\*[^*\s][^*]*\*)|\*", lambda star: star[1] or r"\*", pieces[i])
    return "".join(pieces)


# Side by side


class SideBySide(Directive):
    """A row for each formula."""

    def run(self):
        """Raw HTML, the errors filled in."""
        env = self.state.document.settings.env
        uri = env.app.builder.get_relative_uri

        def link(code):
            return f"{uri(env.docname, shown(code.file))}#L-{code.line}"

        def href(formula):
            return uri(env.docname, f"derivations/{formula.page[:-3]}")

        text = filled(side_by_side.rows(formulas.formulas(), link, href))
        return [nodes.raw("", text, format="html")]


class Overlaid(Directive):
    """The passes over their tangents."""

    def run(self):
        """Raw HTML."""
        return [nodes.raw("", side_by_side.overlaid(formulas.formulas()), format="html")]


def filled(text):
    """The rows with the errors that the audit measures on this machine."""
    from numaml.check.audit import audit
    from numaml.command.read import filled

    return filled(text, audit())


# Sources as pages


def shown(path):
    """The page that shows a file."""
    return f"{SHOWN}/{path.removesuffix('.py')}" if path.endswith(".py") else f"{SHOWN}/{path}"


def _to(env, path, *children):
    """A link to a file's page."""
    name = path.relative_to(ROOT).as_posix()
    page = name.removesuffix(".md") if name.endswith(".md") else shown(name)
    uri = env.app.builder.get_relative_uri(env.docname, page)
    return nodes.reference("", "", *children, refuri=uri, internal=True)


def _docs(env):
    return {(ROOT / one).as_posix() for one in env.found_docs}


class SourceLinks(SphinxTransform):
    """Links to files of the repository lead to the pages that show them."""

    default_priority = 300

    def apply(self):
        """Turn the downloads that MyST makes of them into links."""
        env = self.document.settings.env
        here = (ROOT / env.doc2path(env.docname, base=False)).parent
        for node in list(self.document.findall(addnodes.download_reference)):
            target = node["reftarget"]
            path = ROOT / target[1:] if target[0] == "/" else (here / target).resolve()
            if path in _sources():
                node.replace_self(_to(env, path, *node.children))
        for node in list(self.document.findall(nodes.literal)):
            path = ROOT / node.astext()
            known = path in _sources() or path.with_suffix("").as_posix() in _docs(env)
            if known and FILE.fullmatch(node.astext()) and not _is_in(node, UNTOUCHED):
                node.replace_self(_to(env, path, node.deepcopy()))


SOURCES = (
    "numaml/**/*.py", "examples/**/*.py", "examples/**/*.c", "examples/**/*.mjs", "tests/*.py",
    ".ci/run", "pyproject.toml", "LICENSE",
)  # fmt: skip


@cache
def _sources():
    """Files that have a page; other tests are not spoken of."""
    return sorted(path for pattern in SOURCES for path in ROOT.glob(pattern) if path.is_file())


def _source_pages(app):
    from pygments import highlight
    from pygments.formatters import HtmlFormatter
    from pygments.lexers import get_lexer_for_filename
    from pygments.lexers.special import TextLexer
    from pygments.util import ClassNotFound

    formatter = HtmlFormatter(
        cssclass="highlight", linenos="inline", lineanchors="L", wrapcode=True
    )
    for path in _sources():
        name = path.relative_to(ROOT).as_posix()
        try:
            lexer = get_lexer_for_filename(name)
        except ClassNotFound:
            lexer = TextLexer()
        code = highlight(path.read_text(encoding="utf-8"), lexer, formatter)
        title = f"<h1>{name}</h1>"
        yield shown(name), {"title": name, "body": title + code, "display_toc": False}, "page.html"


def source_of(module, name):
    """Where a documented name stands, seen from a page of the reference."""
    try:
        thing = _named(f"{module}.{name}")
        thing = inspect.unwrap(getattr(thing, "func", getattr(thing, "fget", thing)))
        file = Path(inspect.getsourcefile(thing))
        _, line = inspect.getsourcelines(thing)
    except (AttributeError, TypeError, ValueError, OSError):  # a field, or a constant
        return None
    if file not in _sources():
        return None
    return f"../../../{shown(file.relative_to(ROOT).as_posix())}.html#L-{line}"


# Words


@cache
def _terms():
    text = (ROOT / f"{GLOSSARY}.md").read_text(encoding="utf-8")
    (part,) = re.findall(r"^```\{glossary\}\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    terms = ENTRY.findall(part)
    return {term.lower(): term for term in sorted(terms, key=len, reverse=True)}


class WordLinks(SphinxTransform):
    """A word of the glossary leads there where a page has it first, and every tag to its row."""

    default_priority = 700  # after everything that makes text

    def apply(self):
        """Cut the texts at these words."""
        env = self.document.settings.env
        left = {} if env.docname == GLOSSARY else _terms().copy()
        words = rf"(?<!\w)(?P<word>{'|'.join(map(re.escape, left))})s?(?![^\W_])"  # also φ_K
        pattern = re.compile(rf"{formulas.TAG.pattern}|{words}", re.IGNORECASE)
        for node in list(self.document.findall(nodes.Text)):
            if not _is_in(node, UNTOUCHED):
                pieces = list(_pieces(node.astext(), pattern, left, env))
                if len(pieces) > 1:
                    node.parent.replace(node, pieces)


UNTOUCHED = (
    nodes.literal, nodes.reference, nodes.title, nodes.FixedTextElement, nodes.math,
    nodes.math_block, nodes.raw, nodes.term, nodes.rubric, addnodes.pending_xref,
    addnodes.desc_signature, addnodes.download_reference,
)  # fmt: skip


def _is_in(node, kinds):
    while node.parent is not None:
        node = node.parent
        if isinstance(node, kinds):
            return True
    return False


def _pieces(text, pattern, left, env):
    end = 0
    for found in pattern.finditer(text):
        tag, term = found[1], left.pop((found["word"] or "").lower(), None)
        if tag in _tags():
            uri = env.app.builder.get_relative_uri(env.docname, SIDE_BY_SIDE)
            new = nodes.reference("", found[0], refuri=f"{uri}#{tag}", internal=True)
            new["classes"] = ["tag"]
        elif term:
            new = addnodes.pending_xref(
                "", nodes.inline("", found[0], classes=["word"]), refdoc=env.docname,
                refdomain="std", reftype="term", reftarget=term, refexplicit=True, refwarn=True,
            )  # fmt: skip
        else:
            continue
        yield from (nodes.Text(text[end : found.start()]), new)
        end = found.end()
    yield nodes.Text(text[end:])


@cache
def _tags():
    return {one.tag for one in formulas.formulas()}


# Mathematics, and the way in


def _inline_math(self, node):
    self.body.append(mathml.inline(node.astext()))
    raise nodes.SkipNode


def _block_math(self, node):
    every = "".join(map(mathml.block, mathml.apart(node.astext())))
    self.body.append(f'<div class="mathml">{every}</div>')
    raise nodes.SkipNode


def _front(app, error):
    if error is None and app.builder.format == "html":
        page = f"{app.config.root_doc}.html"
        Path(app.outdir, "index.html").write_text(
            f'<!doctype html><meta charset="utf-8"><title>numaml</title>'
            f'<meta http-equiv="refresh" content="0; url={page}"><a href="{page}">numaml</a>\n'
        )
