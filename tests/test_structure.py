"""The house rules that a machine can keep: floors, sizes, imports, docstrings."""

import ast
import inspect
import io
import subprocess
import sys
import tokenize
from pathlib import Path

import pytest

import numaml

PACKAGE = Path(numaml.__file__).parent
# Imports point down: a file may import from the lines below its own only.
FLOORS = [
    ("__main__",),
    ("cli",),
    ("plot",),
    ("sinusoid", "characters", "table"),
    ("experiment", "adapting", "estimator"),
    ("audit", "omniglot", "grouped"),
    ("shards", "learner"),
    ("training", "tasks", "rows", "judge", "check/__init__", "check/strategies"),
    ("check/meta", "check/parts"),
    ("check/checks", "check/pieces"),
    ("check/report",),
    ("check/orders", "check/probe"),
    ("check/diagnosis", "check/derivatives", "check/rings"),
    ("maml", "mlp"),
    ("factored", "blocks"),
    ("params", "primitives", "normalisation"),
    ("validation", "lock"),
]
ALONE = (
    "maml",
    "judge",
    "primitives",
    "normalisation",
    "validation",
    "tasks",
    "rows",
    "lock",
)  # import nothing of ours
CORE = ("params", "primitives", "mlp", "maml")
CORE_LINES, FUNCTION_LINES = 300, 30


def tree(name):
    return ast.parse((PACKAGE / f"{name}.py").read_text())


def imports_of_ours(name):
    """Files of ours that a file imports from, each by its path without the suffix."""
    found = set()
    for node in ast.walk(tree(name)):
        if isinstance(node, ast.ImportFrom) and node.level:
            folder = name.split("/")[: -node.level]
            paths = [node.module.replace(".", "/")] if node.module else []
            for path in paths or [alias.name for alias in node.names]:
                path = "/".join([*folder, path])
                found.add(f"{path}/__init__" if (PACKAGE / path).is_dir() else path)
        elif isinstance(node, ast.ImportFrom | ast.Import):
            names = [node.module] if isinstance(node, ast.ImportFrom) else []
            names += [alias.name for alias in node.names]
            assert not any(n.split(".")[0] == "numaml" for n in names), "imports are relative"
    return found - {"__version__"}


def test_every_file_has_a_floor():
    files = {path.relative_to(PACKAGE).with_suffix("").as_posix() for path in PACKAGE.rglob("*.py")}
    assert files - {"__init__"} == {name for floor in FLOORS for name in floor}


def test_imports_point_down():
    for level, floor in enumerate(FLOORS):
        below = {name for lower in FLOORS[level + 1 :] for name in lower}
        for name in floor:
            assert imports_of_ours(name) <= below, name
            if name.startswith("check/"):  # the kit imports nothing of ours but itself
                assert all(other.startswith("check/") for other in imports_of_ours(name)), name
    for name in ALONE:
        assert not imports_of_ours(name), name


def code_lines(name):
    """Numbers of the lines with code on them: no blank lines, comments or docstrings."""
    source = (PACKAGE / f"{name}.py").read_text()
    documentation = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and ast.get_docstring(
            node
        ):
            documentation |= set(range(node.body[0].lineno, node.body[0].end_lineno + 1))
    layout = (
        tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE,
        tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER,
    )  # fmt: skip
    lines = set()
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type not in layout:
            lines |= set(range(token.start[0], token.end[0] + 1))
    return lines - documentation


def test_the_core_stays_small():
    assert sum(len(code_lines(name)) for name in CORE) <= CORE_LINES


@pytest.mark.parametrize("name", [name for floor in FLOORS for name in floor])
def test_functions_stay_small(name):
    lines = code_lines(name)
    for node in ast.walk(tree(name)):
        if isinstance(node, ast.FunctionDef):
            length = sum(node.lineno <= line <= node.end_lineno for line in lines)
            assert length <= FUNCTION_LINES, f"{name}.{node.name} has {length} lines"


def test_import_needs_numpy_and_the_standard_library_only():
    code = """
import sys
import numpy
before = set(sys.modules)
import numaml
extra = {name.split('.')[0] for name in set(sys.modules) - before}
numpys_own = {name for name in extra if name == 'numpy' or 'cython' in name}
print(sorted(extra - set(sys.stdlib_module_names) - numpys_own))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "['numaml']\n"


def test_import_leaves_numpys_state_alone():
    code = """
import numpy as np
state, errors = np.random.get_state(), np.geterr()
import numaml
model = numaml.MLP((1, 4, 1))
numaml.meta_gradient(model, model.init(0), numaml.Sinusoids()(np.random.default_rng(0)), 0.01, 2)
after = np.random.get_state()
print((state[1] == after[1]).all() and state[2:] == after[2:] and errors == np.geterr())
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "True\n"


def public_objects():
    for name in numaml.__all__:
        member = getattr(numaml, name)
        if inspect.ismodule(member):
            for inner in vars(member).values():
                ours = getattr(inner, "__module__", "").startswith(member.__name__)
                if ours and inner.__name__[0] != "_":
                    yield f"{name}.{inner.__name__}", inner
        else:
            yield name, member
            if inspect.isclass(member):
                for inner, method in vars(member).items():
                    if inner[0] != "_" and inspect.isfunction(method):
                        yield f"{name}.{inner}", method


@pytest.mark.parametrize(("name", "member"), list(public_objects()))
def test_public_docstrings(name, member):
    text = inspect.getdoc(member)
    assert text, name
    assert text.splitlines()[0].rstrip()[-1] in ".:", name
    parameters = [
        p for p in inspect.signature(member).parameters if p not in ("self", "args", "kwargs")
    ]
    if parameters:
        assert "Parameters\n----------" in text, name
        listed = text.split("Parameters\n----------")[1].split("\n\n")[0]
        for parameter in parameters:
            assert parameter in listed, f"{name}: {parameter}"


def test_version_is_said_once():
    text = (PACKAGE.parent / "pyproject.toml").read_text()
    assert f'version = "{numaml.__version__}"' in text
    assert f"## [{numaml.__version__}]" in (PACKAGE.parent / "CHANGELOG.md").read_text()
