"""The package `higher`: right when told to be, and two of its ways to be silently wrong.

What `higher` calls copy_initial_weights=True is its default: the meta-gradient then goes to a copy.
"""

import numpy as np

from numaml import Sinusoids, check

try:
    import higher
    import torch
except ImportError:
    print("skipped: higher is not installed (pip install torch higher)")
    raise SystemExit from None

ALPHA, STEPS = 0.05, 2
torch.manual_seed(0)
NET = torch.nn.Sequential(torch.nn.Linear(1, 20), torch.nn.Tanh(), torch.nn.Linear(20, 1)).double()
SHAPES = {name: tuple(p.shape) for name, p in NET.named_parameters()}
INNER = torch.optim.SGD(NET.parameters(), lr=ALPHA)

batch = Sinusoids(tasks=3, shots=5, queries=7)(np.random.default_rng(0))
DATA = [
    tuple(torch.from_numpy(a) for a in task)
    for task in zip(batch.support.x, batch.support.y, batch.query.x, batch.query.y, strict=True)
]
loss = torch.nn.functional.mse_loss


def at(p):
    """Put a vector into the network."""
    torch.nn.utils.vector_to_parameters(torch.tensor(p), NET.parameters())


def flat(gradients):
    pairs = zip(gradients, NET.parameters(), strict=True)
    return torch.cat([(torch.zeros_like(p) if g is None else g).ravel() for g, p in pairs]).numpy()


def meta_gradient(p, *, of_fast_weights=False, **settings):
    """higher's own recipe: backward through the differentiable optimiser, task by task."""
    at(p)
    NET.zero_grad()
    total = 0.0
    for xs, ys, xq, yq in DATA:
        with higher.innerloop_ctx(NET, INNER, **settings) as (fast, optimiser):
            for _ in range(STEPS):
                optimiser.step(loss(fast(xs), ys))
            query_loss = loss(fast(xq), yq) / len(DATA)
            if of_fast_weights:
                total = total + flat(torch.autograd.grad(query_loss, fast.parameters()))
            else:
                query_loss.backward()
    return total if of_fast_weights else flat([p.grad for p in NET.parameters()])


def value(p):
    at(p)
    losses = []
    for xs, ys, xq, yq in DATA:
        with higher.innerloop_ctx(NET, INNER, track_higher_grads=False) as (fast, optimiser):
            for _ in range(STEPS):
                optimiser.step(loss(fast(xs), ys))
            losses.append(loss(fast(xq), yq).item())
    return float(np.mean(losses))


def gradient_of(x, y):
    def gradient(p):
        at(p)
        return flat(torch.autograd.grad(loss(NET(x), y), NET.parameters()))

    return gradient


CANDIDATES = {
    "the default, copy_initial_weights=True": {},
    "track_higher_grads=False, gradient of the fast weights": {
        "track_higher_grads": False,
        "of_fast_weights": True,
    },
    "copy_initial_weights=False": {"copy_initial_weights": False},
}


def main():
    theta = torch.nn.utils.parameters_to_vector(NET.parameters()).detach().numpy().copy()
    tasks = [(gradient_of(xs, ys), gradient_of(xq, yq)) for xs, ys, xq, yq in DATA]
    return {
        name: check.meta_gradient(
            value,
            meta_gradient(theta, **settings),
            theta,
            tasks=tasks,
            alpha=ALPHA,
            steps=STEPS,
            blocks=SHAPES,
        )
        for name, settings in CANDIDATES.items()
    }


if __name__ == "__main__":
    for name, report in main().items():
        print(f"\n--- {name}\n{report}")
