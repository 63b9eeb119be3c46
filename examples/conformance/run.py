"""The libraries on one table: ``python examples/conformance/run.py``.

Every adaptor (with_*.py) runs on the same test vectors in a process of its own; what is not
installed is left out with a word. Writes conformance.json and conformance.md.
"""

import argparse
import datetime
import json
import platform
import subprocess
import sys
import warnings
from fractions import Fraction
from importlib import import_module, metadata
from pathlib import Path

import numpy as np

HERE = Path(__file__).resolve().parent
ENOUGH = 11  # right digits: rounding takes the rest
SOME = 5  # of float32, or of a search that stopped
LONGEST = 600  # seconds of one library


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


def of_library(name):
    """What a library's process prints."""
    module = import_module(name)
    ways = [
        {"way": way.name, "instead": way.instead, "results": list(results(way))}
        for way in module.WAYS
    ]
    return {"package": module.PACKAGE, "version": metadata.version(module.PACKAGE), "ways": ways}


def elsewhere(name):
    """The same by a process of its own; a word if it is not installed."""
    command = [sys.executable, __file__, "--library", name]
    done = subprocess.run(  # noqa: S603  # this file, by this interpreter
        command, capture_output=True, text=True, timeout=LONGEST, cwd=HERE
    )
    if done.returncode == 0:
        return json.loads(done.stdout.splitlines()[-1])
    last = (done.stderr.strip().splitlines() or ["?"])[-1]
    return {"package": name.removeprefix("with_"), "missing": last[:200]}


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
    return "\n".join(lines) + "\n"


PLAIN = "maml, maml-classification, tanh"


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--library", help="one adaptor, here; prints JSON")
    parser.add_argument(
        "--only", nargs="+", help="some adaptors, e.g. with_jax; others keep their lines"
    )
    parser.add_argument("--out", type=Path, default=HERE)
    options = parser.parse_args(arguments)
    if options.library:
        print(json.dumps(of_library(options.library)))
        return 0
    names, kept = sorted(path.stem for path in HERE.glob("with_*.py")), {}
    if options.only:
        before = json.loads((options.out / "conformance.json").read_text())["libraries"]
        kept = dict(zip(names, before, strict=True))
    libraries = []
    for name in names:
        again = not options.only or name in options.only
        libraries.append(elsewhere(name) if again else kept[name])
        print(f"{name}: {libraries[-1].get('missing', 'done')}", flush=True)
    found = {
        "date": datetime.date.today().isoformat(),
        "python": platform.python_version(),
        "libraries": libraries,
    }
    (options.out / "conformance.json").write_text(json.dumps(found, indent=1) + "\n")
    head = f"Python {found['python']}, {found['date']}. Made by `run.py`.\n\n"
    (options.out / "conformance.md").write_text("# Conformance\n\n" + head + table(found))
    print(table(found))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
