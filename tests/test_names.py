"""No page names what is gone: what looks like a name of ours resolves, in pages and docstrings.

Nor is a name forgotten: what is public stands in the reference, what is an example in the gallery.

What stands in backticks and reads as Python is taken for Python. Every dotted name in it must lead
from something of ours, or of a package that is known here, to something that is there; every other
name must occur in the code. Letters of the formulas, one or two or Greek, may be anything.
A path into a folder of this repository must lead to a file wherever it stands, and so must a link.
"""

import ast
import functools
import importlib
import importlib.util
import inspect
import pkgutil
import re
import sys

import numpy as np
import pytest

import numaml
from numaml.learning.state import State

from .house import HOUSE, ROOT, parsed

PAGES = [
    *sorted(ROOT.glob("derivations/**/*.md")),
    *sorted(ROOT.glob("examples/**/*.md")),
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
]
# Only their paths and links are looked at: mutants are lines of code as they were, and the vectors'
# page is about what stands in the vectors' files.
PATHS_ONLY = [
    ROOT / ".ci/run",
    ROOT / "pyproject.toml",
    ROOT / "tests/cosmic-ray.toml",
    ROOT / "tests/MUTANTS.md",
    *sorted(ROOT.glob("numaml/**/*.md")),
]
# What pages call an instance of a class, or a module, by custom.
BY_CUSTOM = {
    "model": numaml.MLP,
    "tasks": numaml.Tasks,
    "state": State,
    "np": np,
}
# Other people's packages, which need not be installed, and names of theirs that pages speak of.
PACKAGES = {"torch", "jax", "dask", "mpi4py", "sklearn", "threadpoolctl", "pandas", "polars"}
THEIRS = {
    "BigDecimal", "GroupKFold", "brendenlake", "client", "einsum", "images_background",
    "images_background_small1", "images_evaluation", "jac", "strtod", "support_gradient",
    "update_lr", "vdot", "OPENBLAS_THREAD_TIMEOUT",
}  # fmt: skip
FOLDERS = ("numaml", "tests", "examples", "derivations")
PATH = re.compile(
    rf"(?<![\w./-])((?:{'|'.join(FOLDERS)})/(?:[\w.-]+/)*[\w.-]*\w)(?:::(\w+))?(?![\w*])"
)
MODULE = re.compile(r"python -m ((?:tests|examples)[\w.]+)")
LINK = re.compile(r"\]\(([^)#\s]+)(?:#[^)\s]*)?\)")
LETTER = re.compile(r"\w\w?|[a-zA-Z]_\w+|.*[^\x00-\x7f].*")  # x, s1, z_dot, θ
LISTED = re.compile(r"^```\{names\}\n(.*?)^```", re.MULTILINE | re.DOTALL)
FENCE = re.compile(r"^( *)```.*?^\1```", re.MULTILINE | re.DOTALL)
SPAN = re.compile(r"(?<!`)(`{1,2})(?!`)(.+?)(?<!`)\1(?!`)", re.DOTALL)
FILE = re.compile(r"[\w./-]+\.(py|md|json|toml|npz|csv)")


def docstrings():
    for name, source in HOUSE.items():
        for node in ast.walk(parsed(source)):
            if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef):
                text = ast.get_docstring(node)
                if text:
                    yield f"numaml/{name}.py {getattr(node, 'name', '')}", text


@functools.cache
def words():
    """Names in the code of the package and of the examples, and strings that are a word."""
    sources = [*HOUSE.values(), *(path.read_text() for path in ROOT.glob("examples/**/*.py"))]
    found = set()
    for node in (node for source in sources for node in ast.walk(parsed(source))):
        for field in ("id", "attr", "arg", "name", "asname", "value"):
            word = getattr(node, field, None)
            if isinstance(word, str) and re.fullmatch(r"[\w./-]+", word):
                found |= {word, *word.split(".")}
    return found


@functools.cache
def ours():
    """Modules, classes and functions of ours by their own names, which several may have."""
    names = [one.name for one in pkgutil.walk_packages(numaml.__path__, "numaml.")]
    modules = [importlib.import_module(name) for name in names if not name.endswith("__main__")]
    found = {"numaml": [numaml]}
    for module in modules:
        found.setdefault(module.__name__.split(".")[-1], []).append(module)
        for name, thing in vars(module).items():
            if getattr(thing, "__module__", None) == module.__name__ and callable(thing):
                found.setdefault(name, []).append(thing)
    return found


def member(holder, name):
    """What a module or class has under a name; None where only its kind is not known."""
    if hasattr(holder, name):
        return getattr(holder, name)
    if hasattr(holder, "__path__") and importlib.util.find_spec(f"{holder.__name__}.{name}"):
        return importlib.import_module(f"{holder.__name__}.{name}")
    if inspect.isclass(holder) and name in fields(holder):
        return None
    raise AttributeError(name)


def fields(kind):
    """What instances of a class have besides what the class has."""
    declared = {name for one in kind.__mro__ for name in vars(one).get("__annotations__", ())}
    return declared | set(re.findall(r"\bself\.(\w+)(?:: [^=\n]+)? = ", inspect.getsource(kind)))


def lead(holder, names):
    """What is wrong with names that lead on from a module, a class or another thing, or ""."""
    for i, name in enumerate(names):
        if not (inspect.ismodule(holder) or inspect.isclass(holder)):
            return occur(names[i:])
        try:
            holder = member(holder, name)
        except AttributeError:
            return f"{holder.__name__} has no {name}"
    return ""


def occur(names):
    """What is wrong with names of which only this is asked, that the code has them."""
    known = words() | THEIRS | set(dir(np.ndarray))
    unknown = [
        name
        for name in names
        if not LETTER.fullmatch(name) and name not in known
        if not (name[0] == "_" and any(word.endswith(name) for word in known))  # as in `_dot`
    ]
    return f"{unknown[0]} is nothing in the code" if unknown else ""


def resolve(root, *names):
    """What is wrong with a dotted name: one of those with its first part has the rest."""
    holders = [*ours().get(root, ()), *([BY_CUSTOM[root]] if root in BY_CUSTOM else [])]
    if root in sys.stdlib_module_names | {"numpy", "scipy"} and names:
        holders.append(importlib.import_module(root))
    if holders:
        wrong = [lead(holder, names) for holder in holders]
    else:
        wrong = [occur([] if root in PACKAGES else [root, *names])]
    return f"`{'.'.join([root, *names])}`: {wrong[0]}" if all(wrong) else ""


def names(tree):
    """The dotted names in what reads as Python, each whole: ``a.b`` and not its ``a`` again."""
    if isinstance(tree, ast.Attribute):
        parts, holder = [tree.attr], tree.value
        while isinstance(holder, ast.Attribute):
            parts, holder = [holder.attr, *parts], holder.value
        if isinstance(holder, ast.Name):
            yield [holder.id, *parts]
            return
    if isinstance(tree, ast.Name):
        yield [tree.id]
    elif isinstance(tree, ast.ImportFrom):
        for alias in tree.names:
            yield [*tree.module.split("."), alias.name]
    elif isinstance(tree, ast.Import):
        for alias in tree.names:
            yield alias.name.split(".")
    elif isinstance(tree, ast.keyword):
        yield [tree.arg]
    for child in ast.iter_child_nodes(tree):
        yield from names(child)


def is_file(name):
    """A file of this repository, or one that the code writes or reads."""
    found = [*ROOT.glob(name), *(one for folder in FOLDERS for one in (ROOT / folder).rglob(name))]
    return bool(found) or name in words()


def of_span(span):
    """What one span in backticks names and nobody has."""
    span = " ".join(span.split()).split(" -> ")[0]
    if FILE.fullmatch(span):
        return [] if is_file(span.split("/")[-1]) else [f"{span} is no file"]
    if span.startswith("--"):
        span = span.split()[0].strip("-").replace("-", "_")
    try:  # letters that are not ASCII would be made so: UᵀV is not UTV
        tree = ast.parse(re.sub(r"[^\x00-\x7f]", "ξ", span))
    except SyntaxError:
        return []
    return [complaint for dotted in names(tree) if (complaint := resolve(*dotted))]


def of_paths(text):
    for path, test in PATH.findall(text):
        file = ROOT / path
        if not file.exists():
            yield f"{path} is not there"
        elif test and f"def {test}(" not in file.read_text():
            yield f"{path} has no {test}"
    for module in MODULE.findall(text):
        if not (ROOT / f"{module.replace('.', '/')}.py").exists():
            yield f"{module} is not there"


def of_links(page):
    text = SPAN.sub("", FENCE.sub("", page.read_text()))
    return [
        f"the link {link} leads nowhere"
        for link in LINK.findall(text)
        if "://" not in link and not (page.parent / link).exists()
    ]


def of_text(text):
    spans = [span for _, span in SPAN.findall(FENCE.sub("", text))]
    return [*of_paths(text), *(complaint for span in spans for complaint in of_span(span))]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_pages_name_what_is_there(page):
    complaints = [*of_text(page.read_text()), *of_links(page)]
    assert not complaints, "\n".join(complaints)


def test_docstrings_name_what_is_there():
    complaints = [f"{where}: {one}" for where, text in docstrings() for one in of_text(text)]
    assert not complaints, "\n".join(complaints)


@pytest.mark.parametrize("page", PATHS_ONLY, ids=lambda page: page.name)
def test_paths_are_there(page):
    complaints = [*of_paths(page.read_text()), *of_links(page)]
    assert not complaints, "\n".join(complaints)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("`params.multiply_out`", "multiply_out"),
        ("`multiply_out`", "multiply_out"),
        ("as ``multiply_out(W, b)`` says", "multiply_out"),
        ("`maml.reversed`", "numaml.maml has no reversed"),
        ("`numaml.factored`", "numaml has no factored"),
        ("`numaml.weights.attic`", "numaml.weights has no attic"),
        ("`numaml.files.lock.held_by()`", "numaml.files.lock has no held_by"),
        ("`lock.held_by`", "numaml.files.lock has no held_by"),
        ("`MLP.forwards(theta)`", "MLP has no forwards"),
        ("`model.forwards`", "MLP has no forwards"),
        ("`numaml.Tasks.support.examples_held`", "examples_held is nothing"),
        ("`Learner.adapt(x, ys=target_rows)`", "target_rows is nothing"),
        ("`phi = phi - alpha * slope_of(phi)`", "slope_of is nothing"),
        ("`from numaml.check import strategy`", "numaml.check has no strategy"),
        ("`np.linalg.normal`", "numpy.linalg has no normal"),
        ("`--held-back 3`", "held_back is nothing"),
        ("see `attic.py`", "attic.py is no file"),
        ("see numaml/attic.py.", "numaml/attic.py is not there"),
        ("```console\n$ pytest tests/test_attic.py\n```", "tests/test_attic.py is not there"),
        ("tests/test_names.py::test_attic", "tests/test_names.py has no test_attic"),
        ("```console\n$ python -m tests.attic steps\n```", "tests.attic is not there"),
    ],
)
def test_what_is_gone_is_told(text, complaint):
    assert [one for one in of_text(text) if complaint in one], of_text(text)


@pytest.mark.parametrize(
    "text",
    [
        "`W + UᵀV`",
        "`λ_k = λ_{k+1} − α H_k λ_{k+1}`",
        "`M(θ) = f(φ_K(θ))`",
        "`h @ W` and `c @ W.mT`",
        "`s1 * z_dot` and `_dot`",
        "`phi - alpha * g`",
        "`numaml train sinusoid --iterations 200`",
        "`--iterations 200`",
        "`torch.func.grad`",
        "`fractions.Fraction`",
        '`numaml.MLP(sizes, norm="batch")`',
        "`model.linearize(theta, batch)`",
        "`value(theta, batch) -> loss`",
        "`state.best`, `tasks.query.y`",
        "`maml.py`, `config.json`, numaml/maml.py",
        "tests/test_names.py::test_what_is_gone_is_told",
        "```python\nattic_key = 1\n```",
    ],
)
def test_what_is_there_and_what_is_mathematics_is_not(text):
    assert of_text(text) == []


def test_a_link_that_leads_nowhere_is_told(tmp_path):
    page = tmp_path / "page.md"
    page.write_text("[a](attic.md), [b](page.md#part), [c](https://a.b/c), `x[i](y)`")
    assert of_links(page) == ["the link attic.md leads nowhere"]


# Names and topics have their place


def public():
    """Dotted names of what is public and can be called."""
    for name in numaml.__all__:
        member = getattr(numaml, name)
        if inspect.ismodule(member):
            inner = getattr(member, "__all__", None) or [
                one for one, thing in vars(member).items()
                if one[0] != "_" and getattr(thing, "__module__", "") == member.__name__
            ]  # fmt: skip
            yield from (f"numaml.{name}.{one}" for one in inner if callable(getattr(member, one)))
        else:
            yield f"numaml.{name}"


def misplaced(listed, names):
    """What is wrong with the names that the pages of the reference list."""
    pages = "derivations/book/reference/"
    missing = [
        f"{name} is public and stands under no door: add a line with it to a page of {pages}"
        for name in names - set(listed)
    ]
    gone = [f"{name} in {pages} is not public any more" for name in set(listed) - names]
    return missing + gone + [f"{one} is there twice" for one in listed if listed.count(one) > 1]


def test_every_public_name_stands_under_one_door():
    pages = [
        path.read_text() for path in sorted((ROOT / "derivations/book/reference").glob("*.md"))
    ]
    listed = " ".join(found for page in pages for found in LISTED.findall(page)).split()
    complaints = misplaced(listed, set(public())) + [
        f"{name} is not in the list with which help(numaml) begins: numaml/__init__.py"
        for name in set(numaml.__all__) - set(re.findall(r"\w+", numaml.__doc__))
    ]
    assert not complaints, "\n".join(complaints)


def test_a_name_that_is_misplaced_is_told():
    assert "numaml.b is public" in misplaced(["numaml.a"], {"numaml.a", "numaml.b"})[0]
    assert "numaml.a in" in misplaced(["numaml.a"], set())[0]
    assert misplaced(["numaml.a"] * 2, {"numaml.a"}) == ["numaml.a is there twice"] * 2


def test_every_topic_is_in_the_gallery_and_its_picture_too():
    folder = ROOT / "examples"
    gallery = (folder / "README.md").read_text(encoding="utf-8")
    pictures = set(re.findall(r"!\[[^\]]+\]\((\w+)/[\w.-]+\.png\)", gallery))
    for topic in sorted(path.parent for path in folder.glob("*/README.md")):
        name = topic.name
        assert f"]({name}/README.md)" in gallery, f"examples/README.md does not lead to {name}"
        drawn = any(topic.glob("*.png"))
        assert name in pictures or not drawn, f"examples/README.md shows no picture of {name}"
