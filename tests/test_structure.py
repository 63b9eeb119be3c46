"""The house rules that a machine can keep: rooms, floors, sizes, imports, docstrings.

A rule takes the package as text (`house.HOUSE`) and gives its complaints. Every rule is seen to
complain of a house with one thing wrong in it.
"""

import ast
import inspect
import os
import re
import shutil
import subprocess
import sys
import tomllib

import numpy as np
import pytest

import numaml

from .house import (
    FUNCTION,
    HOUSE,
    PACKAGE,
    ROOT,
    arrows,
    chain,
    circle,
    code_lines,
    imports,
    parsed,
    room,
    rooms,
)

# The rooms from the top of the house down, and what each may import: rooms below it only.
# The `__init__` of each folder says the same.
ROOMS = {
    "command": ("experiments", "check", "learning", "data", "files"),
    "experiments": ("learning", "family", "engine", "data", "files", "network"),
    "check": ("learning", "family", "engine", "data", "network", "maml", "weights"),
    "learning": ("family", "engine", "data", "files", "network", "maml"),
    "family": ("engine", "data", "network", "maml", "weights"),
    "engine": ("data", "files", "network", "maml", "weights"),
    "data": ("files", "network"),
    "files": (),
    "network": ("weights",),
    "maml": (),
    "weights": (),
    "textbook": (),
}
MOST_ROOMS, MOST_FLOORS = 12, 9
NOT_THE_KIT = {
    "check/audit",
    "check/audit_family",
    "check/audit_policies",
    "check/answers",
}  # they judge numaml; the kit judges anybody's
ALONE = {"maml", "textbook"}  # to be copied into any program
BY_NAME = {"__init__", "experiments/__init__"}  # load what is asked for later, what a folder holds
FUNCTION_LINES, TEXTBOOK_LINES = 30, 200
# What one meta-gradient of the Omniglot network runs through: lines of code in files of ours that
# it enters, and calls of ours.
LINES, CALLS = 709, 437


def between_rooms(house):
    graph = {name: set() for name in rooms(house)}
    for upper, lower, *_ in arrows(house):
        graph[upper].add(lower)
    return graph


def few_rooms(house):
    found = rooms(house)
    unknown = [f"{name} is no room of the table" for name in found - set(ROOMS)]
    return unknown + [f"{len(found)} rooms, want {MOST_ROOMS}"] * (len(found) > MOST_ROOMS)


def few_floors(house):
    graph = between_rooms(house)
    longest = [] if circle(graph) else chain(graph)
    return [f"{len(longest)} floors: {' > '.join(longest)}"] * (len(longest) > MOST_FLOORS)


def the_table_points_down(table=ROOMS):
    order = list(table)
    return [
        f"{name} may import {other}, which is above it"
        for name in order
        for other in table[name]
        if order.index(other) <= order.index(name)
    ]


def imports_are_those_of_the_table(house):
    """No others, and all of them: a permission that nobody uses is a hole."""
    found = arrows(house)
    others = [
        f"{name} imports {other}, and the room {upper} may not"
        for upper, lower, name, other in found
        if lower not in ROOMS.get(upper, ())
    ]
    unused = [
        f"{upper} may import {lower}, and does not"
        for upper, used in between_rooms(house).items()
        for lower in set(ROOMS.get(upper, ())) - used
    ]
    return others + unused


def no_circle(house):
    found = [circle(between_rooms(house)), circle({name: imports(house, name) for name in house})]
    return [f"a circle: {' > '.join([*one, one[0]])}" for one in found if one]


def docstrings_say_what_the_table_says(house):
    folders = {name for name in rooms(house) & set(ROOMS) if f"{name}/__init__" in house}
    complaints = []
    for name in sorted(folders):
        text = ast.get_docstring(parsed(house[f"{name}/__init__"])) or ""
        said = [" ".join(one.split()) for one in re.findall(r"May import: ([\w,\s]+)\.", text)]
        want = ", ".join(ROOMS[name]) or "nothing of ours"
        complaints += [f"{name} says {said}, want: May import: {want}."] * (said != [want])
    return complaints


def the_kit_stands_alone(house):
    kit = {name for name in house if room(name) == "check"} - NOT_THE_KIT
    return [f"{name} imports {other}" for name in kit for other in imports(house, name) - kit]


def files_to_be_copied_stand_alone(house):
    return [
        f"{name} imports {other}"
        for name in house
        for other in imports(house, name)
        if name in ALONE or other == "textbook"
    ]


def imports_are_relative_statements(house):
    """So a copy of the folder works under any name, and what is imported can be read."""
    absolute = [
        f"{name}: {line}"
        for name, source in house.items()
        for line in re.findall(r"^\s*(?:from|import) numaml\b.*", source, re.MULTILINE)
    ]
    others = r'"(?!\.|numaml\b)'  # the name of another's module
    by_name = [
        f"{name} imports by name"
        for name, source in house.items()
        if re.search(rf"\b(import_module|__import__)\((?!{others})", source) and name not in BY_NAME
    ]
    return absolute + by_name


def functions_are_short(house):
    complaints = []
    for name, source in house.items():
        lines = code_lines(source)
        for node in ast.walk(parsed(source)):
            if isinstance(node, FUNCTION):
                length = sum(node.lineno <= line <= node.end_lineno for line in lines)
                complaint = f"{name}.{node.name} has {length} lines"
                complaints += [complaint] * (length > FUNCTION_LINES)
    return complaints


def the_textbook_is_short(house):
    length = len(house.get("textbook", "").splitlines())
    return [f"textbook has {length} lines"] * (length > TEXTBOOK_LINES)


RULES = [
    few_rooms,
    few_floors,
    imports_are_those_of_the_table,
    no_circle,
    docstrings_say_what_the_table_says,
    the_kit_stands_alone,
    files_to_be_copied_stand_alone,
    imports_are_relative_statements,
    functions_are_short,
    the_textbook_is_short,
]


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_the_house_keeps(rule):
    complaints = rule(HOUSE)
    assert not complaints, "\n".join(complaints)


def test_the_table_points_down():
    assert the_table_points_down() == []
    assert the_table_points_down({"upper": ("lower",), "lower": ("upper",)})


IN_A_BODY = "def late():\n    if True:\n        from ..{} import x\n"
# (rule, file, what is added to its end, what the complaint says)
PLANTED = [
    (few_rooms, "attic/trunk", "x = 1", "attic is no room"),
    (imports_are_those_of_the_table, "weights/theta", "from ..maml import adapt", "weights/theta"),
    (imports_are_those_of_the_table, "files/whole", IN_A_BODY.format("data"), "files may not"),
    (imports_are_those_of_the_table, "learning/state", "from .. import Tasks", "__init__, and"),
    (imports_are_those_of_the_table, "maml", "import numaml.data.tasks", "data/tasks"),
    (no_circle, "files/lock", "from ..experiments.sinusoid import x", "> files >"),
    (no_circle, "files/whole", IN_A_BODY.format("learning"), "> learning >"),
    (no_circle, "check/derivatives", "from . import report, checks", "check/derivatives"),
    (the_kit_stands_alone, "check/probe", "from ..data.tasks import Batch", "data/tasks"),
    (the_kit_stands_alone, "check/meta", IN_A_BODY.format("check.audit"), "check/audit"),
    (files_to_be_copied_stand_alone, "maml", "from .network import mlp", "network/mlp"),
    (files_to_be_copied_stand_alone, "textbook", "from . import maml", "textbook imports maml"),
    (files_to_be_copied_stand_alone, "data/tasks", "from .. import textbook", "textbook"),
    (imports_are_relative_statements, "data/tasks", "if x:\n    import numaml.maml", "data/tasks"),
    (imports_are_relative_statements, "data/tasks", "from numaml import maml", "data/tasks"),
    (imports_are_relative_statements, "data/tasks", "y = import_module('numaml')", "data/tasks"),
    (functions_are_short, "maml", "def long():\n" + "    x = 1\n" * 30, "maml.long has 31"),
    (functions_are_short, "maml", "async def long():\n" + "    x = 1\n" * 30, "maml.long has 31"),
    (the_textbook_is_short, "textbook", "\n" * 201, "textbook has"),
]


@pytest.mark.parametrize(("rule", "name", "text", "complaint"), PLANTED)
def test_a_rule_complains_of(rule, name, text, complaint):
    found = rule({"textbook": "", **HOUSE, name: f"{HOUSE.get(name, '')}\n{text}\n"})
    assert [one for one in found if complaint in one], found
    assert not [one for one in rule(HOUSE) if complaint in one]


def test_rooms_and_floors_are_counted():
    tower = {
        "a": "",
        **{b: f"from . import {a}" for a, b in zip("abcdefghi", "bcdefghij", strict=True)},
    }
    assert "10 floors: j > i > h" in few_floors(tower)[0]
    assert few_floors({name: tower[name] for name in "abcdefghi"}) == []
    assert "13 rooms, want 12" in few_rooms(dict.fromkeys([*ROOMS, "attic"], ""))


@pytest.mark.parametrize(
    ("said", "right"),
    [
        ("May import: weights.", True),
        ("May import: weights,\nmaml.", False),
        ("May import: nothing of ours.", False),
        ("Imports weights.", False),
        ("May import: weights. May import: maml.", False),
    ],
)
def test_a_docstring_is_compared_with_the_table(said, right):
    found = docstrings_say_what_the_table_says({"network/__init__": f'"""The network. {said}"""'})
    assert (found == []) is right


def test_a_permission_that_nobody_uses_is_told():
    house = {name: source for name, source in HOUSE.items() if room(name) != "network"}
    told = imports_are_those_of_the_table({**house, "network/mlp": "x = 1"})
    assert "network may import weights, and does not" in told


def test_every_room_is_shipped_and_has_its_tests():
    folders = {name for name in rooms(HOUSE) if f"{name}/__init__" in HOUSE}
    setup = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]
    assert set(setup["packages"]) == {"numaml"} | {f"numaml.{name}" for name in folders}
    tests = {path.parent.name for path in (ROOT / "tests").glob("*/test_*.py")}
    assert folders <= tests <= rooms(HOUSE)


def test_what_one_meta_gradient_runs_through():
    model = numaml.MLP((784, 256, 128, 64, 64, 5), loss="cross_entropy")
    theta, x = model.init(0, dtype=np.float32), np.ones((32, 5, 784), np.float32)
    batch = numaml.Batch(x, np.tile(np.arange(5), (32, 1)))
    tasks, calls = numaml.Tasks(batch, batch), []

    def note(frame, event, _):
        if event == "call" and frame.f_code.co_filename.startswith(str(PACKAGE)):
            calls.append(os.path.relpath(frame.f_code.co_filename, PACKAGE))

    before = numaml.engine.replaying(False)
    for profile in (None, note):  # the first call fills caches
        sys.setprofile(profile)
        numaml.meta_gradient(model, theta, tasks, 0.4, 1)
        sys.setprofile(None)
    numaml.engine.replaying(before)
    lines = {name: len(code_lines((PACKAGE / name).read_text())) for name in set(calls)}
    assert {"maml.py", "network/network.py"} <= set(lines)
    assert sum(lines.values()) <= LINES, lines
    assert len(calls) <= CALLS


def printed(code, package=None):
    """What a fresh interpreter prints, with numaml or with the copy of it in a folder."""
    found = [] if package is None else [str(package), *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = os.environ | ({"PYTHONPATH": os.pathsep.join(found)} if found else {})
    command = [sys.executable, "-c", code]
    done = subprocess.run(
        command, capture_output=True, text=True, check=True, env=environment, cwd=package
    )
    return done.stdout


LOADED = """
import sys
import numpy
before = set(sys.modules)
import numaml
extra = {name.split('.')[0] for name in set(sys.modules) - before}
numpys_own = {name for name in extra if name == 'numpy' or 'cython' in name}
print(sorted(extra - set(sys.stdlib_module_names) - numpys_own))
"""
SHOWN = "import numaml; print(dir(numaml) == sorted(numaml.__all__)); from numaml import *"


def test_import_needs_numpy_and_the_standard_library_only():
    assert printed(LOADED) == "['numaml']\n"


def test_dir_shows_the_public_names_and_nothing_else():
    assert printed(SHOWN) == "True\n"
    assert not set(numaml.__all__) & (rooms(HOUSE) - {"check", "engine", "family"})


@pytest.mark.parametrize(
    ("name", "text", "code", "seen"),
    [
        ("data/tasks", "import stranger", LOADED, "['numaml', 'stranger']\n"),
        ("__init__", "del __dir__", SHOWN, "False\n"),
    ],
)
def test_planted_in_a_copy(tmp_path, name, text, code, seen):
    shutil.copytree(PACKAGE, tmp_path / "numaml", ignore=shutil.ignore_patterns("__pycache__"))
    (tmp_path / "stranger.py").touch()
    with (tmp_path / "numaml" / f"{name}.py").open("a") as file:
        file.write(f"\n{text}\n")
    assert printed(code, tmp_path) == seen


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
    assert printed(code) == "True\n"


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
    text = (ROOT / "pyproject.toml").read_text()
    assert f'version = "{numaml.__version__}"' in text
    assert f"## [{numaml.__version__}]" in (ROOT / "CHANGELOG.md").read_text()
