"""What was assumed of policies that adapt, measured on a run of ``numaml train navigation``.

Three things: what the curvature of every 8th sample differs from all of it by, in the product and
in the step; how far a task's advantages tell how far its goal is, on the distance and on its
square; and how noisy the score term is beside the rest of the meta-gradient.

    numaml train navigation --out runs/navigation
    python examples/policies.py runs/navigation
"""

import argparse
import time
from dataclasses import replace
from pathlib import Path

import numpy as np

from numaml.data.environments import Goals, Navigation, Rounds
from numaml.data.tasks import Batch
from numaml.experiments import runs
from numaml.family.policies import Adaptation, advantages, as_batch, walk
from numaml.family.trust_region import conjugate_gradients
from numaml.maml import pull_back

REPLICATES, TASKS = 12, 8


def curvatures(experiment, theta):
    """The product and the step by all samples, and by every so many-th."""
    tasks = Goals(experiment.tasks)(np.random.default_rng(10))
    one = Adaptation(
        experiment.model, theta, tasks, experiment.alpha, experiment.steps, experiment.recipe
    )
    g = one.gradient()
    full = one.curvature(1)
    want, found = full(g), {}
    for every in (1, 4, 8, 16):
        start = time.process_time()
        product = one.curvature(every)
        x, _ = conjugate_gradients(lambda v, F=product: F(v) + 1e-5 * v, g)
        found[every] = x, product(g), time.process_time() - start
    print("every  off in F g  angle of the step  gain for its divergence  CPU seconds")
    for every, (x, product, seconds) in found.items():
        off = np.linalg.norm(product - want) / np.linalg.norm(want)
        cosine = x @ found[1][0] / np.linalg.norm(x) / np.linalg.norm(found[1][0])
        # What a step of some divergence gains to the first order, by the exact curvature.
        gain = (g @ x) / np.sqrt(x @ full(x))
        angle = np.degrees(np.arccos(min(cosine, 1.0)))
        print(f"{every:5} {off:11.0%} {angle:17.0f}° {gain:24.4f} {seconds:12.1f}")


def scales(experiment, theta):
    """Deviation of a task's advantages against the distance of its goal from where paths stay."""
    goals = np.random.default_rng(11).uniform(-0.5, 0.5, (40, 2))
    paths = walk(experiment.model, theta, Navigation(goals), 20, 100, np.random.default_rng(12))
    away = np.sqrt(((goals - paths.observations.mean((1, 2))) ** 2).sum(1))
    for squared in (False, True):
        recipe = replace(experiment.recipe, squared=squared, each=False)
        each = advantages(paths, recipe).std((1, 2))
        each = each / each.mean()
        order = np.argsort(away)
        near, far = each[order[:10]].mean(), each[order[-10:]].mean()
        print(
            f"{'squared distance' if squared else 'distance':17} correlation "
            f"{np.corrcoef(away, each)[0, 1]:.2f}, of the ten nearest goals {near:.2f}, of the ten "
            f"farthest {far:.2f}"
        )


def score_term(experiment, theta):
    """Noise of the score term, and of what is differentiated with paths held fixed."""
    model, recipe = experiment.model, replace(experiment.recipe, squared=False)
    environment, rest, scores, returns = (
        Goals(TASKS)(np.random.default_rng(13)).environment,
        [],
        [],
        [],
    )
    for replicate in range(REPLICATES):
        one = Adaptation(model, theta, Rounds(environment, 2 * replicate, 2 * replicate + 1),
                         experiment.alpha, 1, experiment.recipe)  # fmt: skip
        first, last = one.seen
        query = as_batch(last.paths, advantages(last.paths, recipe), theta.dtype)
        hvp = model.linearize(theta, first.batch)[2]
        lam = model.linearize(last.phi, query)[1]
        rest.append(recipe.horizon * pull_back([hvp], experiment.alpha, lam))
        ones = np.ones_like(first.batch.y[..., -1:])
        taken = Batch(first.batch.x, np.concatenate([first.batch.y[..., :-1], ones], -1))
        scores.append(-ones.shape[1] * model.linearize(theta, taken)[1])
        returns.append(last.paths.returns)
    returns = np.array(returns)
    others = (returns.sum(0) - returns) / (REPLICATES - 1)  # of the same goal, as a baseline
    terms = -(returns - others)[..., None] * np.array(scores)
    noise = [np.sqrt(np.var(one, axis=0, ddof=1).sum()) for one in (terms, np.array(rest))]
    print(f"score term {noise[0]:.0f}, the rest {noise[1]:.1f}: {noise[0] / noise[1]:.0f} times")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", type=Path)
    one = next(iter(runs.load(parser.parse_args().run).values()))
    for measure in (curvatures, scales, score_term):
        print(f"\n{measure.__doc__}")
        measure(one.experiment, one.theta)


if __name__ == "__main__":
    main()
