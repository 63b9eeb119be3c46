"""What `speed.py` found, as Markdown and as a figure."""

from __future__ import annotations

import io
from typing import Any

from numaml.experiments.figures import FAINT, INK, figure

from .measure import LIMIT, QUIET
from .peers import NUMAML, PLAIN

COLOURS = {
    NUMAML: "#0b6e99", LIMIT: FAINT, "JAX vmap": "#c4581b", "JAX in turn": "#e0a030",
    "torch.func": "#6b8e23", "PyTorch loop": "#7a4fa3", "autograd": "#b03060", PLAIN: "#7fb5cc",
}  # fmt: skip
WHOLE = 70_000  # iterations of the MAML paper's training on sinusoids
NOTES = """
Medians of calls taken in turns, each implementation warm and in a process of its own, float32,
every gradient compared with numaml's before anything is timed; ×: the time over numaml's. *plain*:
numaml with `numaml.engine.replaying(False)`, the same program run without a recording, to the same
bits. *over GEMMs*: numaml's time over that of the matrix products alone that the exact
meta-gradient cannot do without (`examples/helpers/limit.py`). *better JAX*: the faster of the two
that follow, and the ratio that numaml sets out to reach. *JAX vmap* is `jit` of `value_and_grad`
over `vmap`, of the mean or the mean of each, the inner loop unrolled or scanned, whichever is
fastest; *JAX in turn* is `jit` of a scan over the tasks. *autograd* is HIPS autograd, tasks stacked
or in turn; *torch.func* is `vmap` of `grad_and_value`; *PyTorch loop* is the loop over tasks with
`create_graph`. *Error*: the largest relative distance of a peer's gradient from numaml's (that of
first-order MAML in brackets). *\\**: other processes used more than {quiet} cores, which costs
OpenBLAS more than others (see busy.md).
""".strip().format(quiet=QUIET)
TRAINING_NOTES = """
The whole training as `numaml.train` runs it, sampling and Adam inside, beside the same loop
compiled by JAX into one program (`lax.scan` over the iterations, the best of three ways to take the
meta-gradient). Medians of {calls} calls of {each} iterations and more, after some that do not
count; all {whole} are extrapolated from them.
""".strip()


def shown(seconds: float) -> str:
    """Three digits, and a unit that suits them."""
    number, unit = (seconds, "s") if seconds >= 1 else (seconds * 1e3, "ms")
    return f"{number:#.3g}".rstrip(".") + f" {unit}"


def times(number: float) -> str:
    """Three digits of a ratio."""
    return f"×{number:#.3g}".rstrip(".")


def table(head: list[str], lines: list[list[str]]) -> str:
    bars = [head, ["---"] * len(head), *lines]
    return "\n".join("| " + " | ".join(line) + " |" for line in bars)


def network(row: dict[str, Any]) -> str:
    sizes = "-".join(map(str, row["sizes"]))
    if row.get("image"):
        filters = "-".join(str(filters) for filters, _, _ in row["convolutions"])
        sizes = f"{'×'.join(map(str, row['image']))} convolved {filters}"
    loss = "cross-entropy" if row["loss"] == "cross_entropy" else "squared error"
    norm = ", batch norm" if row["norm"] else ""
    data = f"T={row['tasks']}, {row['support']}/{row['query']}, K={row['steps']}"
    return f"{sizes}{norm}, {data}, {loss}"


def better_jax(row: dict[str, Any]) -> str | None:
    """Name of the JAX that took less time, if there is one."""
    names = [name for name in row["medians"] if name.startswith("JAX")]
    return min(names, key=row["medians"].get, default=None)


def ratio(row: dict[str, Any], name: str | None) -> str:
    """Time over numaml's, and the ratio wanted of the better JAX."""
    if name not in row["medians"]:
        return "refused" if name in row["refused"] else "—"
    wanted = f" (wanted {row['wanted']:g})" if name == better_jax(row) and row["wanted"] else ""
    return times(row["medians"][name] / row["medians"][NUMAML]) + wanted


def over_limit(row: dict[str, Any]) -> str:
    return f"{row['medians'][NUMAML] / row['medians'][LIMIT]:.2f}"


def cells(row: dict[str, Any], names: list[str]) -> list[str]:
    medians, better = row["medians"], better_jax(row)

    def cell(name: str) -> str:
        if name not in medians:
            return "refused: another gradient"
        return f"{shown(medians[name])}, {times(medians[name] / medians[NUMAML])}"

    disturbed = " \\*" if row["others"] > QUIET else ""
    worst = f"{max(row['errors'].values()):.0e}" if row["errors"] else "—"
    return [
        row["name"] + disturbed,
        network(row),
        shown(medians[NUMAML]),
        cell(PLAIN),
        f"{shown(medians[LIMIT])}, {over_limit(row)}",
        ratio(row, better),
        *map(cell, names),
        f"{worst} ({row['first_order']:.1g})",
    ]


def training_lines(row: dict[str, Any]) -> list[list[str]]:
    """Of each implementation the seconds of 1000 iterations and of all, and the ratio."""
    return [
        [name, shown(1000 * s / row["iterations"]), shown(WHOLE * s / row["iterations"]),
         ratio(row, name)]
        for name, s in row["medians"].items()
    ]  # fmt: skip


TRAINING_HEAD = ["1000 iterations", f"all {WHOLE}", "over numaml"]


def summary(results: dict[str, Any]) -> str:
    """The ratios alone, in columns, for a terminal."""
    head = ["", "numaml", "plain", "over GEMMs", "better JAX", "autograd"]
    lines = [
        [row["name"] + "*" * (row["others"] > QUIET), shown(row["medians"][NUMAML]),
         ratio(row, PLAIN), over_limit(row), ratio(row, better_jax(row)), ratio(row, "autograd")]
        for row in results["rows"]
    ]  # fmt: skip
    text = aligned([head, *lines])
    if results["training"]:
        text += "\n\n" + aligned(
            [["training", *TRAINING_HEAD], *training_lines(results["training"])]
        )
    return "\n" + text


def spread(rows: list[dict[str, Any]]) -> str:
    """How the ratios to the better JAX are spread, and where numaml is the slower."""
    found = [(row["medians"][name] / row["medians"][NUMAML], row["name"])
             for row in rows if (name := better_jax(row))]  # fmt: skip
    if not found:
        return ""
    ratios = [one for one, _ in sorted(found)]
    quarters = [times(ratios[round(part * (len(ratios) - 1))]) for part in (0, 0.25, 0.5, 0.75, 1)]
    slower = [f"{name} {times(one)}" for one, name in sorted(found) if one < 1]
    return (
        f"better JAX over numaml, least to most by quarters: {', '.join(quarters)}; "
        f"numaml is slower on {len(slower)} of {len(ratios)}: {', '.join(slower) or 'none'}"
    )


def aligned(lines: list[list[str]]) -> str:
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    padded = [[cell.ljust(w) for cell, w in zip(line, widths, strict=True)] for line in lines]
    return "\n".join("  ".join(line).rstrip() for line in padded)


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
    absent = "".join(f" {name}: left out, {why}." for name, why in around["absent"].items())
    parts.append(
        f"{around['cores']} cores, Python {around['Python']}, {versions}, {around['BLAS']}.{absent}"
    )
    if results["rows"]:
        head = ["configuration", "network", NUMAML, "plain", "over GEMMs", "better JAX", *names,
                "error"]  # fmt: skip
        parts += [table(head, [cells(row, names) for row in results["rows"]]), NOTES]
    if whole := results["training"]:
        parts += [table(["training, " + network(whole), *TRAINING_HEAD], training_lines(whole))]
        parts += [
            TRAINING_NOTES.format(
                calls=min(whole["calls"].values()), each=whole["iterations"], whole=WHOLE
            )
        ]
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
            ours = {"s": 70, "zorder": 4} if name == NUMAML else {"s": 40, "zorder": 3}
            marker = "|" if name == LIMIT else "o"
            axes.scatter(x, y, color=COLOURS.get(name, INK), marker=marker, label=name, **ours)
        if row["wanted"] and better_jax(row):
            x = medians[better_jax(row)] / row["wanted"]
            axes.scatter(x, y, s=160, marker="o", facecolors="none", edgecolors=INK, lw=0.9,
                         label="numaml's target")  # fmt: skip
    axes.set_yticks(range(len(rows)), [network(row) for row in rows])
    axes.invert_yaxis()
    axes.set_xscale("log")
    axes.set_xlabel("milliseconds for one exact meta-gradient (left is faster)")
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.grid(axis="x", which="both", color=FAINT, alpha=0.25, linewidth=0.5)
    handles, labels = axes.get_legend_handles_labels()
    once = dict(zip(labels, handles, strict=True))
    drawn.legend(once.values(), once, loc="outside upper center", ncols=len(once), frameon=False,
                 columnspacing=1, handletextpad=0.3)  # fmt: skip
    return png(drawn)


def png(drawn: Any) -> bytes:
    content = io.BytesIO()
    drawn.savefig(content, format="png", bbox_inches="tight")
    return content.getvalue()
