"""The libraries on one table: ``python examples/conformance/run.py --environment FOLDER``.

Makes a virtual environment with numaml and all libraries (without the option it takes those that
are installed). Every adaptor (with_*.py) runs on the same test vectors in a process of its own;
what is not installed is left out with a word. Writes conformance.json and conformance.md.
"""

import argparse
import ast
import datetime
import json
import platform
import shutil
import subprocess
import sys
import tarfile
import tempfile
import venv
import warnings
from fractions import Fraction
from importlib import import_module, metadata
from pathlib import Path

import numpy as np

HERE = Path(__file__).resolve().parent
ENOUGH = 11  # right digits: rounding takes the rest
SOME = 5  # of float32, or of a search that stopped
LONGEST = 1800  # seconds of one library


def judged(vector, field, got):
    """(what it looks like, how far off) of one answer."""
    from numaml.check import answers

    if got is None:
        return "no gradient at all (None)", float("inf")
    got = np.asarray(got, dtype=float)
    if not np.isfinite(got).all():
        return "NaN", float("inf")
    want = answers.in_a_row(vector["right"][field])
    digits = float(answers.agreement([Fraction(float(x)) for x in got.ravel()], want))
    if digits >= ENOUGH:
        return "right", 10**-digits
    if digits >= SOME:
        return f"right to {digits:.0f} digits", 10**-digits
    _, reason = answers.judged(got.tolist(), vector, field, "float64", Path())
    return reason.removeprefix("looks like ").split(":")[0], 10**-digits


def results(way):
    """A way on each of its vectors."""
    from problem import problems

    for problem in problems(way.vectors):
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                found = way.run(problem)
            found = found if isinstance(found, dict) else {"meta_gradient": found}
        except Exception as error:  # whatever a library does is a result
            text = f"{type(error).__name__}: {' '.join(str(error).split())[:120]}"
            yield {"vector": problem.name, "field": "", "word": text, "off": None}
            continue
        for field, got in found.items():
            word, off = judged(problem.vector, field, got)
            off = off if np.isfinite(off) else None
            yield {"vector": problem.name, "field": field, "word": word, "off": off}


def adaptors():
    """The names of all adaptors."""
    return sorted(path.stem for path in HERE.glob("with_*.py"))


def packages(name):
    """(package, all that pip has to install for it) of an adaptor, which may not load yet."""
    for line in ast.parse((HERE / f"{name}.py").read_text()).body:
        if isinstance(line, ast.Assign) and ast.unparse(line.targets[0]) == "(PACKAGE, REQUIRES)":
            return ast.literal_eval(line.value)
    raise ValueError(f"{name}.py has no line PACKAGE, REQUIRES = …, (…)")


def environment(folder, names):
    """The Python of an environment with numaml and the adaptors' packages, as far as they go in."""
    if not (folder / "pyvenv.cfg").exists():
        venv.create(folder, with_pip=True)
    python = folder / ("Scripts" if sys.platform == "win32" else "bin") / "python"
    pip = [str(python), "-m", "pip", "-q", "--disable-pip-version-check"]
    root = str(HERE.parents[1])
    subprocess.run([*pip, "install", "-e", f"{root}[check]"], check=True)  # noqa: S603  # by pip
    for package in dict.fromkeys(one for name in names for one in packages(name)[1]):
        if subprocess.run([*pip, "install", package]).returncode:  # noqa: S603  # by pip
            print(f"{package} does not build here; its files are taken as they are", flush=True)
            unpacked(pip, python, package)
    return python


def unpacked(pip, python, package):
    """A package's Python files beside the others, where what it compiles is not to be had."""
    ask = "import sysconfig; print(sysconfig.get_path('purelib'))"
    asked = [str(python), "-c", ask]
    place = subprocess.run(asked, capture_output=True, text=True, check=True)  # noqa: S603
    with tempfile.TemporaryDirectory() as folder:
        download = ["download", "--no-deps", "--no-build-isolation", "--no-binary", ":all:"]
        subprocess.run([*pip, *download, "-d", folder, package])  # noqa: S603  # it may fail
        for archive in Path(folder).glob("*.tar.gz"):
            with tarfile.open(archive) as files:
                files.extractall(folder, filter="data")
            source = Path(folder, archive.name.removesuffix(".tar.gz"))
            for part in (package, f"{package}.egg-info"):
                if (source / part).is_dir():
                    shutil.copytree(source / part, Path(place.stdout.strip(), part))


def of_library(name):
    """What a library's process prints."""
    module = import_module(name)
    ways = [
        {"way": way.name, "instead": way.instead, "results": list(results(way))}
        for way in module.WAYS
    ]
    return {"package": module.PACKAGE, "version": metadata.version(module.PACKAGE), "ways": ways}


def elsewhere(name, python=sys.executable):
    """The same by a process of its own; a word, and what to install, if it does not load."""
    command = [str(python), __file__, "--library", name]
    try:
        done = subprocess.run(  # noqa: S603  # this file, by this interpreter
            command, capture_output=True, text=True, timeout=LONGEST, cwd=HERE
        )
    except subprocess.TimeoutExpired:
        missing = f"it had not finished after {LONGEST} seconds"
        return {"adaptor": name, "package": packages(name)[0], "missing": missing}
    if done.returncode == 0:
        found = json.loads(done.stdout.splitlines()[-1])
        return {"adaptor": name, "date": datetime.date.today().isoformat(), **found}
    last = (done.stderr.strip().splitlines() or ["?"])[-1]
    package, needs = packages(name)
    missing = f"{last[:200]} (pip install {' '.join(needs)})"
    return {"adaptor": name, "package": package, "missing": missing}


def said(way):
    """(verdict, how far off, on which vectors) of a way, for the table."""
    rows = way["results"]
    if all(row["word"] == "right" for row in rows):
        off = f"{max(row['off'] for row in rows):.0e}"
    else:
        wrong = [row["off"] for row in rows if row["word"] != "right" and row["off"] is not None]
        shares = sorted({f"{100 * off:.3g}" for off in wrong}, key=float)
        off = f"{'–'.join(dict.fromkeys((shares[0], shares[-1])))} %" if shares else ""
    words = [row["word"] for row in rows]
    named = [word for word in words if word != "right" and not word.startswith("no known")]
    others = [word for word in words if word != "right"]
    word = max(named or others or words, key=(named or others or words).count)
    return word, off, ", ".join(dict.fromkeys(row["vector"] for row in rows))


def table(found):
    """The page's table."""
    lines = ["| library | way | verdict | off | write instead |", "|---|---|---|---|---|"]
    for library in found["libraries"]:
        for way in library.get("ways", ()):
            word, off, vectors = said(way)
            verdict = f"**{word}**" if word == "right" else word
            instead = "" if word == "right" else way["instead"]
            where = "" if vectors == PLAIN else f" ({vectors})"
            name = f"{library['package']} {library['version']}"
            cells = (name, f"`{way['way']}`{where}", verdict, off, instead)
            lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    lines += [
        f"\n{one['package']} was left out: {one['missing']}"
        for one in found["libraries"]
        if "missing" in one
    ]
    lines += [
        f"\nThe lines of {one['package']} are of {one['date']}."
        for one in found["libraries"]
        if "missing" not in one and one["date"] != found["date"]
    ]
    return "\n".join(lines) + "\n"


PLAIN = "maml, maml-classification, tanh"


def run(names, python, before=()):
    """What all libraries do: those of these names now, the others as before."""
    kept, libraries = {one["adaptor"]: one for one in before}, []
    for name in adaptors():
        if name in names:
            libraries.append(elsewhere(name, python))
            print(f"{name}: {libraries[-1].get('missing', 'done')}", flush=True)
        elif name in kept:
            libraries.append(kept[name])
    today, version = datetime.date.today().isoformat(), platform.python_version()
    return {"date": today, "python": version, "libraries": libraries}


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--library", choices=adaptors(), help="one adaptor, here; prints JSON")
    parser.add_argument(
        "--only", nargs="+", choices=adaptors(), help="some adaptors; others keep their lines"
    )
    parser.add_argument("--environment", type=Path, help="make it, with all that is needed")
    parser.add_argument("--out", type=Path, default=HERE)
    options = parser.parse_args(arguments)
    if options.library:
        print(json.dumps(of_library(options.library)))
        return 0
    names, before, python = options.only or adaptors(), (), sys.executable
    if options.only:
        before = json.loads((options.out / "conformance.json").read_text())["libraries"]
    if options.environment:
        python = environment(options.environment.resolve(), names)
    found = run(names, python, before)
    (options.out / "conformance.json").write_text(json.dumps(found, indent=1) + "\n")
    head = f"Python {found['python']}, {found['date']}. Made by `run.py`.\n\n"
    (options.out / "conformance.md").write_text("# Conformance\n\n" + head + table(found))
    print(table(found))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
