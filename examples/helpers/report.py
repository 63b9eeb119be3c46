"""What `speed.py` found, as Markdown and as a figure."""

from __future__ import annotations

import io
from typing import Any

from numaml.experiments.figures import FAINT, INK, figure

from .measure import QUIET

COLOURS = {
    "numaml": "#0b6e99", "GEMM limit": FAINT, "JAX vmap": "#c4581b", "JAX in turn": "#e0a030",
    "torch.func": "#6b8e23", "PyTorch loop": "#7a4fa3",
}  # fmt: skip
NOTES = """
Medians of calls taken in turns, each implementation in a process of its own, float32, every
gradient compared with numaml's before anything is timed; ×: the time over numaml's. *GEMM limit*:
the matrix products alone that the exact meta-gradient cannot do without
(`examples/helpers/limit.py`), and numaml's time over it. *JAX vmap* is `jit` of `value_and_grad`
over `vmap`, the inner loop unrolled or scanned, whichever is faster; *JAX in turn* is `jit` of a
scan over the tasks, which on a CPU is often the better JAX; *torch.func* is `vmap` of
`grad_and_value`; *PyTorch loop* is the loop over tasks with `create_graph`. *Wanted*: the ratio
that numaml sets out to reach. *Error*: the largest relative distance of a peer's gradient from
numaml's (that of first-order MAML in brackets). *\\**: other processes used more than {quiet}
cores, which costs OpenBLAS more than others (see busy.md).
""".strip().format(quiet=QUIET)


def shown(seconds: float) -> str:
    """Three digits, and a unit that suits them."""
    number, unit = (seconds, "s") if seconds >= 1 else (seconds * 1e3, "ms")
    return f"{number:#.3g}".rstrip(".") + f" {unit}"


def table(head: list[str], lines: list[list[str]]) -> str:
    bars = [head, ["---"] * len(head), *lines]
    return "\n".join("| " + " | ".join(line) + " |" for line in bars)


def network(row: dict[str, Any]) -> str:
    sizes = "-".join(map(str, row["sizes"]))
    loss = "cross-entropy" if row["loss"] == "cross_entropy" else "squared error"
    norm = ", batch norm" if row["norm"] else ""
    data = f"T={row['tasks']}, {row['support']}/{row['query']}, K={row['steps']}"
    return f"{sizes}{norm}, {data}, {loss}"


def cells(row: dict[str, Any], names: list[str]) -> list[str]:
    medians = row["medians"]
    ours, limit = medians["numaml"], medians["GEMM limit"]
    disturbed = " \\*" if row["others"] > QUIET else ""
    line = [
        row["name"] + disturbed,
        network(row),
        shown(ours),
        f"{shown(limit)}, {ours / limit:.1f}",
    ]
    for name in names:
        if name in row["refused"]:
            line.append("refused: another gradient")
            continue
        wanted = f" (wanted {row['wanted']:g})" if name == "JAX vmap" and row["wanted"] else ""
        line.append(f"{shown(medians[name])}, ×{medians[name] / ours:.1f}{wanted}")
    worst = f"{max(row['errors'].values()):.0e}" if row["errors"] else "—"
    return [*line, f"{worst} ({row['first_order']:.1g})"]


def memory_lines(memory: dict[str, Any]) -> list[list[str]]:
    ours = memory["bytes"]["numaml"]
    lines = []
    for name, used in memory["bytes"].items():
        ratios = [f"{used[when] / 1e6:.0f} MB, ×{used[when] / ours[when]:.1f}"
                  for when in ("first", "later")]  # fmt: skip
        wanted = f" (wanted {memory['wanted']})" if name == "JAX vmap" else ""
        lines.append([name, ratios[0], ratios[1] + wanted])
    return lines


def markdown(results: dict[str, Any]) -> str:
    """Everything measured, for people."""
    names, parts = results["peers"], ["# Speed of the exact meta-gradient"]
    around = results["surroundings"]
    versions = ", ".join(f"{name} {number}" for name, number in around["versions"].items())
    absent = "".join(f" {name}: left out, {package} is not installed."
                     for name, package in around["absent"].items())  # fmt: skip
    parts.append(
        f"{around['cores']} cores, Python {around['Python']}, {versions}, {around['BLAS']}.{absent}"
    )
    head = ["configuration", "network", "numaml", "GEMM limit", *names, "error"]
    parts += [table(head, [cells(row, names) for row in results["rows"]]), NOTES]
    if results["memory"]:
        name = results["memory"]["configuration"]
        head = [f"peak memory above the inputs, {name}", "first call, compilation included",
                "later calls"]  # fmt: skip
        parts += [table(head, memory_lines(results["memory"]))]
    if results["cold"]:
        head = [f"new process to first meta-gradient, {results['cold']['configuration']}", "time"]
        lines = [[name, shown(s)] for name, s in results["cold"]["seconds"].items()]
        parts += [table(head, lines)]
    return "\n\n".join(parts) + "\n"


def drawing(rows: list[dict[str, Any]]) -> bytes:
    """Times of every row on one logarithmic axis, and where the wanted ratio would put numaml."""
    drawn = figure(11, 1.6 + 0.42 * len(rows))
    axes = drawn.subplots()
    for y, row in enumerate(rows):
        medians = {name: 1e3 * seconds for name, seconds in row["medians"].items()}
        axes.plot([min(medians.values()), max(medians.values())], [y, y], color=FAINT, lw=0.6)
        for name, x in medians.items():
            ours = {"s": 70, "zorder": 4} if name == "numaml" else {"s": 40, "zorder": 3}
            marker = "|" if name == "GEMM limit" else "o"
            axes.scatter(x, y, color=COLOURS.get(name, INK), marker=marker, label=name, **ours)
        if row["wanted"] and "JAX vmap" in medians:
            x = medians["JAX vmap"] / row["wanted"]
            axes.scatter(x, y, s=160, marker="o", facecolors="none", edgecolors=INK, lw=0.9,
                         label="numaml's target")  # fmt: skip
    axes.set_yticks(range(len(rows)), [network(row) for row in rows])
    axes.invert_yaxis()
    axes.set_xscale("log")
    axes.set_xlabel("milliseconds for one exact meta-gradient, median (left is faster)")
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.grid(axis="x", which="both", color=FAINT, alpha=0.25, linewidth=0.5)
    handles, labels = axes.get_legend_handles_labels()
    once = dict(zip(labels, handles, strict=True))
    drawn.legend(once.values(), once, loc="outside upper center", ncols=len(once), frameon=False,
                 columnspacing=1, handletextpad=0.3)  # fmt: skip
    return png(drawn)


def png(drawn: Any) -> bytes:
    content = io.BytesIO()
    drawn.savefig(content, format="png")
    return content.getvalue()
