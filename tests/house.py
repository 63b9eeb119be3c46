"""The package as text: its files, what each imports of ours, and which lines of it are code.

Everything is read from the sources and nothing is run, so that a test can hand in a house with
something wrong in it.
"""

import ast
import functools
import io
import tokenize
from pathlib import Path

import numaml

PACKAGE = Path(numaml.__file__).parent
ROOT = PACKAGE.parent
LAYOUT = (
    tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE,
    tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER,
)  # fmt: skip
FUNCTION = ast.FunctionDef | ast.AsyncFunctionDef


parsed = functools.cache(ast.parse)


def read(package=PACKAGE):
    """Text of every file by its path in the package without the suffix: ``weights/theta``."""
    paths = sorted(package.rglob("*.py"))
    return {
        path.relative_to(package).with_suffix("").as_posix(): path.read_text() for path in paths
    }


HOUSE = read()


def room(name):
    """The room a file is in, or is; the package's own two files are in none."""
    first = name.split("/")[0]
    return None if first.startswith("__") else first


def rooms(house):
    return {room(name) for name in house} - {None}


def imports(house, name):
    """Files of ours that a file imports from, wherever in it the import stands."""
    found = set()
    for node in ast.walk(parsed(house[name])):
        if isinstance(node, ast.Import):
            parts = [alias.name.split(".") for alias in node.names]
            found |= {file(house, rest) for first, *rest in parts if first == "numaml"}
        elif isinstance(node, ast.ImportFrom):
            folder = absolute(name, node)
            if folder is not None:
                found |= {file(house, [*folder, alias.name]) for alias in node.names}
    return found - {name}


def absolute(name, node):
    """Where in the package ``from … import`` looks, None if elsewhere."""
    module = node.module.split(".") if node.module else []
    if node.level:
        return [*name.split("/")[: -node.level], *module]
    return module[1:] if module[0] == "numaml" else None


def file(house, parts):
    """The file that holds a name, the last parts of which may be something in it."""
    for end in range(len(parts), -1, -1):
        path = "/".join(parts[:end])
        for candidate in (path, f"{path}/__init__".lstrip("/")):
            if candidate in house:
                return candidate
    raise LookupError(f"no file of ours holds {parts}")


def arrows(house):
    """(from, to, file, file) of every import from one room into another."""
    return {
        (room(name), room(other), name, other)
        for name in house
        if room(name)
        for other in imports(house, name)
        if room(other) != room(name)
    }


def circle(graph):
    """Nodes of a circle in a graph (node to nodes), in order, or none."""
    done = set()

    def walk(node, way):
        if node in way:
            return way[way.index(node) :]
        for other in () if node in done else sorted(graph.get(node, ())):
            found = walk(other, [*way, node])
            if found:
                return found
        done.add(node)
        return []

    return next((found for node in sorted(graph) if (found := walk(node, []))), [])


def chain(graph):
    """The longest way down a graph (node to nodes) without circles."""

    def down(node):
        return [node, *max(map(down, graph[node]), key=len, default=[])]

    return max(map(down, graph), key=len, default=[])


@functools.cache
def code_lines(source):
    """Numbers of the lines with code on them: no blank lines, comments or docstrings."""
    documentation = set()
    for node in ast.walk(parsed(source)):
        if isinstance(node, ast.Module | ast.ClassDef | FUNCTION) and ast.get_docstring(node):
            documentation |= set(range(node.body[0].lineno, node.body[0].end_lineno + 1))
    lines = set()
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type not in LAYOUT:
            lines |= set(range(token.start[0], token.end[0] + 1))
    return lines - documentation
