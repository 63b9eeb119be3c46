"""How time and memory of the exact meta-gradient grow with steps, tasks, width and support size.

    python examples/scaling.py [--only AXIS ...] [--seconds 1] [--out FOLDER] [--quick]

Varies one axis at a time around one network, for numaml, its bare matrix products and JAX where it
is installed. Writes scaling.json and scaling.png.
"""

from __future__ import annotations

import argparse
import dataclasses
import itertools
import json
import sys
from pathlib import Path
from statistics import median
from typing import Any

from helpers import measure, peers
from helpers.peers import Configuration
from helpers.report import COLOURS, png
from speed import agreed, say

from numaml.files.whole import write_whole

STEPS, TASKS, WIDTH, SUPPORT = 5, 16, 256, 10
AXES = {
    "steps": (1, 2, 5, 10, 20, 50),
    "tasks": (1, 4, 16, 64, 256),
    "width": (16, 64, 256, 1024, 4096),
    "support": (1, 3, 10, 30, 100, 200),
}
LABELS = {
    "steps": "inner steps K", "tasks": "tasks T", "width": "width of both hidden layers",
    "support": "support examples n",
}  # fmt: skip
# JAX vmap is left out where K copies of all tasks' weights need more; it holds about twice that.
VMAP_BYTES = 2e9
LEAST = 1e5  # bytes drawn where less was needed


def configuration(
    steps: int = STEPS, tasks: int = TASKS, width: int = WIDTH, support: int = SUPPORT
) -> Configuration:
    name = f"K={steps}, T={tasks}, width={width}, n={support}"
    return Configuration(name, (64, width, width, 10), tasks, support, 10, steps)


def small_enough(name: str, c: Configuration) -> bool:
    weights = sum(i * o for i, o in itertools.pairwise(c.sizes))
    return name != "JAX vmap" or 4 * weights * c.tasks * c.steps < VMAP_BYTES


def point(c: Configuration, names: list[str], duration: float) -> dict[str, Any]:
    """Median seconds, and peak bytes above the inputs, each in a process of its own."""
    found = agreed(peers.problem(c), [name for name in names if small_enough(name, c)])
    ways = {"numaml": "", **found["ways"]}
    times = measure.apart({**ways, measure.LIMIT: ""}, c, duration, 3)
    used = {name: measure.memory_of(name, way, c)["later"] for name, way in ways.items()}
    seconds = {name: median(every) for name, every in times.items()}
    say(f"{c.name}:", ", ".join(f"{name} {1e3 * s:.3g} ms" for name, s in seconds.items()),
        "and", ", ".join(f"{name} {b / 1e6:.0f} MB" for name, b in used.items()))  # fmt: skip
    return {**dataclasses.asdict(c), **found, "seconds": seconds, "bytes": used}


def drawing(results: dict[str, Any]) -> bytes:
    """Small multiples: time above, memory below, one column per axis."""
    from numaml.experiments.figures import FAINT, figure

    drawn = figure(3 * len(results) + 1, 6)
    grid = drawn.subplots(2, len(results), sharey="row", sharex="col", squeeze=False)
    for column, (axis, points) in zip(grid.T, results.items(), strict=True):
        for axes, quantity, unit in zip(column, ("seconds", "bytes"), (1e3, 1e-6), strict=True):
            for name in dict.fromkeys(name for p in points for name in p[quantity]):
                there = [p for p in points if name in p[quantity]]
                values = [unit * max(p[quantity][name], LEAST * (unit < 1)) for p in there]
                axes.loglog([p["varied"] for p in there], values, "o-", color=COLOURS[name],
                            label=name, markersize=4, linewidth=1.4)  # fmt: skip
            axes.spines[["top", "right"]].set_visible(False)
            axes.grid(color=FAINT, alpha=0.25, linewidth=0.5)
        column[1].set_xticks([p["varied"] for p in points], [str(p["varied"]) for p in points])
        column[1].minorticks_off()
        column[1].set_xlabel(LABELS[axis])
    grid[0, 0].set_ylabel("milliseconds, median")
    grid[1, 0].set_ylabel("peak MB above the inputs")
    handles, labels = grid[0, 0].get_legend_handles_labels()
    drawn.legend(handles, labels, loc="outside lower center", ncols=len(labels), frameon=False)
    base = f"64-{WIDTH}-{WIDTH}-10, K={STEPS}, T={TASKS}, support/query {SUPPORT}/10"
    words = "JAX's memory contains what its compiler leaves behind"
    drawn.suptitle(f"One exact meta-gradient of {base}; {words}", fontsize=10)
    return png(drawn)


def write(results: dict[str, Any], out: Path) -> None:
    out.mkdir(parents=True, exist_ok=True)
    write_whole(out / "scaling.json", json.dumps(results, indent=1).encode())
    try:
        write_whole(out / "scaling.png", drawing(results))
    except ModuleNotFoundError as error:
        say(f"no figure: {error}")
    say(f"written to {out}")


def options(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", nargs="+", choices=AXES, default=AXES, metavar="AXIS",
                        help="axes to vary, of " + ", ".join(AXES))  # fmt: skip
    parser.add_argument("--seconds", type=float, default=1, help="at least, per point")
    parser.add_argument("--out", type=Path, default=Path(__file__).with_name("speed"))
    parser.add_argument("--quick", action="store_true", help="two points per axis, to try it")
    return parser.parse_args(arguments)


def main(arguments: list[str]) -> None:
    chosen = options(arguments)
    measure.warn()
    absent = peers.missing()
    names = [name for name in ("JAX vmap", "JAX in turn") if name not in absent]
    if len(names) < 2:
        say("JAX is left out: it is not installed")
    results = {
        axis: [
            {"varied": value, **point(configuration(**{axis: value}), names, chosen.seconds)}
            for value in AXES[axis][: 2 if chosen.quick else None]
        ]
        for axis in chosen.only
    }
    write(results, chosen.out)


if __name__ == "__main__":
    main(sys.argv[1:])
