"""The gallery's pictures that no example draws itself.

    python examples/gallery.py [--out FOLDER] [--quick]

One is computed: the curves of two trainings of which one has lost its second order, beside what the
verification kit says of the two gradients. Two are drawn from results that were recorded: by
cluster.py in cluster/cluster.json, and by embed.py in embed/embed.md.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from pathlib import Path

import numpy as np
from helpers.report import png

import numaml
from numaml.experiments.figures import COLOURS, FAINT, INK, figure, plain
from numaml.files.whole import write_whole

HERE = Path(__file__).parent
ALPHA, STEPS, ITERATIONS = 0.01, 1, 2000
GRADIENTS = {
    "exact": numaml.meta_gradient,
    "first-order": numaml.first_order_meta_gradient,
}
SAID = {"exact": "exact", "first-order": "second order lost"}


def curves(iterations):
    """Meta-values of the two trainings, from the same θ on the same tasks."""
    model = numaml.MLP((1, 40, 40, 1), "tanh")
    settings = {"alpha": ALPHA, "steps": STEPS, "iterations": iterations}
    return {
        name: numaml.train(
            model, model.init(0), numaml.Sinusoids(), gradient=gradient, **settings
        ).values
        for name, gradient in GRADIENTS.items()
    }


def errors():
    """What the kit finds of both gradients, and the smallest error it could have seen."""
    model = numaml.MLP((1, 40, 40, 1), "tanh")
    theta, tasks = model.init(0), numaml.Sinusoids()(np.random.default_rng(1))

    def value(theta):
        return numaml.meta_value(model, theta, tasks, ALPHA, STEPS)

    gradients = {name: one(model, theta, tasks, ALPHA, STEPS)[1] for name, one in GRADIENTS.items()}
    return {
        name: numaml.check.meta_gradient(value, gradient, theta)
        for name, gradient in gradients.items()
    }


def of_verification(iterations):
    """Two curves that look alike, and two errors that do not."""
    drawn = figure(9, 3)
    left, right = drawn.subplots(1, 2, width_ratios=(1.4, 1))
    width = max(1, iterations // 30)
    for name, values in curves(iterations).items():
        smooth = np.convolve(values, np.full(width, 1 / width), "valid")
        left.plot(smooth, color=COLOURS[name], label=SAID[name])
    left.set(xlabel="outer step", ylabel="meta-value", title="What training shows")
    left.legend(frameon=False)
    for y, (name, report) in enumerate(errors().items()):
        right.barh(y, max(report.error, 1e-17), left=1e-17, color=COLOURS[name], height=0.5)
        right.text(2e-17, y + 0.42, f"{SAID[name]}: {report.verdict}", va="center", color=INK)
    right.set(xscale="log", xlim=(1e-17, 10), ylim=(1.7, -0.5), yticks=[])
    right.set(xlabel="error of the meta-gradient", title="What the kit shows")
    return framed(drawn)


def of_shards(path):
    """Times of a large meta-batch, as they were measured."""
    medians = {
        name: seconds for name, seconds in json.loads(path.read_text())["medians"].items()
        if "8 shards" not in name and "32" not in name
    }  # fmt: skip
    drawn = figure(9, 3)
    axes = drawn.subplots()
    colours = [FAINT if "one process" in name else COLOURS["exact"] for name in medians]
    axes.barh(list(medians), [1e3 * one for one in medians.values()], color=colours, height=0.6)
    axes.invert_yaxis()
    axes.set(xlabel="milliseconds for the meta-gradient of 1024 tasks, two cores")
    return framed(drawn)


def of_embedding(path):
    """Median and 99th percentile of adapting, as they were measured."""
    rows = re.findall(r"^\| (\d.*?) \| ([\d.]+) ms \| ([\d.]+) ms", path.read_text(), re.MULTILINE)
    drawn = figure(9, 2.6)
    axes = drawn.subplots()
    for y, (_, median, most) in enumerate(rows):
        axes.plot([float(median), float(most)], [y, y], color=FAINT)
        axes.plot(float(median), y, "o", color=COLOURS["exact"])
        axes.plot(float(most), y, "|", color=INK)
    axes.set_yticks(range(len(rows)), [name for name, *_ in rows])
    axes.set(xscale="log", ylim=(len(rows) - 0.5, -0.5))
    axes.set_xticks([0.05, 0.1, 0.2, 0.5, 1, 2], ["0.05", "0.1", "0.2", "0.5", "1", "2"])
    axes.set(xlabel="milliseconds to adapt: median, and 99th percentile")
    return framed(drawn)


def framed(drawn):
    """The picture, without a frame."""
    for axes in drawn.axes:
        plain(axes)
        axes.title.set_size(10)
    return png(drawn)


def main(arguments):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=HERE, help="folder to write to")
    parser.add_argument("--quick", action="store_true", help="a short training, to try it")
    options = parser.parse_args(arguments)
    pictures = {
        "verify/verify.png": of_verification(60 if options.quick else ITERATIONS),
        "cluster/cluster.png": of_shards(HERE / "cluster" / "cluster.json"),
        "embed/embed.png": of_embedding(HERE / "embed" / "embed.md"),
    }
    for name, content in pictures.items():
        path = options.out / name
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, content)
        print(path)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
