"""What numaml costs inside a program that has NumPy: import, wheel, memory, time to adapt.

    python examples/embed.py [--out FILE.md] [--quick]

Needs NumPy and numaml alone. Every figure comes from processes of their own, with one BLAS thread.
Prints a Markdown table, and with --out writes it to a file.
"""

import argparse
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

ROOT = Path(__file__).parents[1]
# Sizes, support examples (of five classes if normalised), inner steps.
CASES = {
    "1-40-40-1, 5 examples, K = 1": ((1, 40, 40, 1), 5, 1),
    "1-40-40-1, 5 examples, K = 5": ((1, 40, 40, 1), 5, 5),
    "1-40-40-1, 10 examples, K = 10": ((1, 40, 40, 1), 10, 10),
    "784-256-128-64-64-5, batch norm, 5 examples, K = 3": ((784, 256, 128, 64, 64, 5), 5, 3),
    "784-256-128-64-64-5, batch norm, 25 examples, K = 3": ((784, 256, 128, 64, 64, 5), 25, 3),
}
ADAPTATIONS, IMPORTS, TASKS = 10_000, 20, 64
WARM = 0.25  # share before growth is counted: CPython keeps the first 2000 tuples of each length


def held(what):
    """Bytes this process holds (VmRSS) or held at most (VmHWM), where Linux says it."""
    status = Path("/proc/self/status")
    if not status.exists():
        return 0
    return 1024 * next(
        int(line.split()[1]) for line in status.read_text().splitlines() if line.startswith(what)
    )


def prepare(folder, sizes, examples, steps):
    """Write a learner in float32, and supports and queries for it."""
    import numpy as np

    import numaml

    rng, images = np.random.default_rng(0), sizes[0] > 1
    model = numaml.MLP(sizes, loss="cross_entropy", norm="batch") if images else numaml.MLP(sizes)
    theta, alpha = model.init(rng, np.float32), 0.4 if images else 0.01
    numaml.Learner(model, theta, alpha, steps).save(folder / "learner.npz")
    x = rng.uniform(0 if images else -5, 1 if images else 5, (TASKS, 2, examples, sizes[0]))
    np.save(folder / "x.npy", x.astype(np.float32))
    np.save(folder / "y.npy", np.arange(examples) % 5 if images else np.sin(x[0, 0], dtype="f4"))


def load(folder):
    """What `prepare` wrote: the learner, its tasks, and y."""
    import numpy as np

    import numaml

    x, y = (np.load(Path(folder) / name) for name in ("x.npy", "y.npy"))
    return numaml.Learner.load(Path(folder) / "learner.npz"), x, y


def imports():
    """Seconds to import NumPy, and then numaml."""
    started = time.perf_counter()
    import numpy  # noqa: F401

    between = time.perf_counter()
    import numaml  # noqa: F401

    return {"numpy": between - started, "numaml": time.perf_counter() - between}


def adaptations(folder, number):
    """Seconds of each adaptation and of each prediction; peak memory, and growth after warm-up."""
    import numpy as np

    bare = held("VmHWM")
    learner, tasks, y = load(folder)
    seconds = np.empty((2, number))
    for k in range(number):
        support, query = tasks[k % TASKS]
        started = time.perf_counter()
        adapted = learner.adapt(support, y)
        between = time.perf_counter()
        adapted.predict(query)
        seconds[:, k] = between - started, time.perf_counter() - between
        if k == int(WARM * number):
            settled = held("VmRSS")
    grown = held("VmRSS") - settled
    return {
        "adapt": np.percentile(seconds[0], (50, 99)).tolist(),
        "predict": np.percentile(seconds[1], (50, 99)).tolist(),
        "bytes": {"bare": bare, "peak": held("VmHWM"), "grown": grown},
    }


def traced(folder, number):
    """Bytes of Python's and NumPy's allocations that are left of the adaptations after warm-up."""
    import tracemalloc

    learner, tasks, y = load(folder)
    tracemalloc.start()
    for k in range(number):
        support, query = tasks[k % TASKS]
        learner.adapt(support, y).predict(query)
        if k == int(WARM * number):
            settled = tracemalloc.get_traced_memory()[0]
    return tracemalloc.get_traced_memory()[0] - settled


def wheel():
    """Bytes of the wheel, None if pip cannot build it here."""
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "source"
        kept = shutil.ignore_patterns("__pycache__")
        for name in ("numaml", "derivations", "tests"):  # the page of numaml read is made of all
            shutil.copytree(ROOT / name, source / name, ignore=kept)
        for name in ("pyproject.toml", "setup.py", "README.md", "LICENSE"):
            shutil.copy(ROOT / name, source)
        build = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "-w", folder, source]
        if subprocess.run(build, capture_output=True).returncode:  # noqa: S603 (pip)
            return None
        return next(Path(folder).glob("*.whl")).stat().st_size


def in_own_process(what, *arguments):
    command = [sys.executable, __file__, "--only", what, *map(str, arguments)]
    environment = {**os.environ, "OPENBLAS_NUM_THREADS": "1"}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)  # what is installed, is compiled
    return json.loads(subprocess.check_output(command, env=environment))  # noqa: S603 (this file)


def measured(quick):
    """All figures."""
    number, times = (50, 1) if quick else (ADAPTATIONS, IMPORTS)
    started = [in_own_process("imports") for _ in range(times)]
    cases = {}
    for name in list(CASES)[:: 4 if quick else 1]:
        with tempfile.TemporaryDirectory() as folder:
            prepare(Path(folder), *CASES[name])
            cases[name] = in_own_process("adaptations", folder, number)
            cases[name]["traced"] = in_own_process("traced", folder, number)
    return {
        "imports": {name: median(one[name] for one in started) for name in started[0]},
        "wheel": None if quick else wheel(),
        "number": number,
        "cases": cases,
    }


def markdown(found):
    import numpy as np

    def row(*cells):
        return "| " + " | ".join(cells) + " |"

    lines = [
        f"Python {platform.python_version()}, NumPy {np.__version__}, one BLAS thread, float32; "
        f"medians, and 99th percentiles, of {found['number']} adaptations each.",
        "",
        row("learner", "adapt, median", "p99", "predict, median", "p99", "peak above NumPy",
            "grown", "allocations left"),
        row("---", *["---:"] * 7),
    ]  # fmt: skip
    for name, one in found["cases"].items():
        times = [f"{1e3 * t:.3f} ms" for t in (*one["adapt"], *one["predict"])]
        used = one["bytes"]
        above, grown = (used["peak"] - used["bare"]) / 2**20, used["grown"] / 2**10
        lines.append(
            row(name, *times, f"{above:.1f} MB", f"{grown:.0f} kB", f"{one['traced']} bytes")
        )
    size = "not built" if found["wheel"] is None else f"{found['wheel'] / 1e3:.0f} kB"
    times = {name: f"{1e3 * t:.1f} ms" for name, t in found["imports"].items()}
    lines += [
        "",
        f"`import numaml` after NumPy: {times['numaml']} (`import numpy`: {times['numpy']}). "
        f"Wheel: {size}.",
    ]
    return "\n".join(lines) + "\n"


def main(arguments):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, help="file to write the table to")
    parser.add_argument("--quick", action="store_true", help="few adaptations, to try it")
    parser.add_argument("--only", nargs="+", help=argparse.SUPPRESS)  # in a process of its own
    chosen = parser.parse_args(arguments)
    if chosen.only:
        what, *rest = chosen.only
        functions = {"imports": imports, "adaptations": adaptations, "traced": traced}
        print(json.dumps(functions[what](*(int(one) if one.isdigit() else one for one in rest))))
        return
    text = markdown(measured(chosen.quick))
    print(text, end="")
    if chosen.out:
        from numaml.files.whole import write_whole

        write_whole(chosen.out, text.encode())


if __name__ == "__main__":
    main(sys.argv[1:])
