"""The outside oracle for the family: JAX's grad by θ and all rates, through the inner loop."""

import numpy as np
import pytest

from numaml import engine, family
from numaml.check import relative_error
from numaml.weights import factored
from numaml.weights.rates import Each

jax = pytest.importorskip("jax", reason="the outside oracle runs where JAX is installed")
jnp = jax.numpy

from ..maml import test_jax as oracle  # noqa: E402  # it needs JAX

double_precision_and_quick_compilation = oracle.double_precision_and_quick_compilation
NETWORKS, STRUCTURES = 35, 3  # 105 configurations, of which each network is compiled once
PROMISED = 1e-12


def structure(rng, layers, size, steps):
    """Rates of a random kind, none of them 0."""

    def rate():
        return float(rng.choice([-0.01, 0.005, 0.02, 0.05]))

    def pair():
        kind = rng.integers(4)
        return [None, rate(), (rate(), None), (None, rate())][kind]

    def one():
        kind = rng.integers(3)
        blocks = (*[pair() for _ in range(layers - 1)], rate())
        return [abs(rate()), blocks, rng.uniform(0.005, 0.05, size)][kind]

    rates = one() if rng.random() < 0.5 else [one() for _ in range(steps)]
    extras = {name: float(rng.uniform(0.1, 0.9)) for name in ("momentum", "pull")
              if rng.random() < 0.4}  # fmt: skip
    return {"rates": rates, **extras} if extras else rates


def places(rates, shapes):
    """Of every step the place of each parameter's rate, −1 where there is none."""
    found = []
    for entry in rates.form.steps:
        if isinstance(entry, int):
            entry = ((entry, entry),) * len(shapes)
        if isinstance(entry, Each):
            found.append(np.arange(entry.start, entry.stop))
        else:
            lengths = [n for n_in, n_out in shapes for n in (n_in * n_out, n_out)]
            flat = [-1 if place is None else place for pair in entry for place in pair]
            found.append(np.repeat(flat, lengths))
    return found


def oracle_of(case, steps):
    """The value and gradient in JAX of θ and rates, of which others are taken by their places."""
    loss = oracle.losses(case)[0]

    def meta(joint, at, xs, ys, xq, yq):
        theta, values = joint[: case.model.size], joint[case.model.size :]

        def step(carried, place):
            phi, u = carried
            u = values[at["momentum"]] * u + jax.grad(loss)(phi, xs, ys)
            u = u + values[at["pull"]] * (phi - theta)
            phi = phi - values[place] * u
            return (phi, u), loss(phi, xq, yq)

        _, after = jax.lax.scan(step, (theta, 0 * theta), at["rates"])
        return at["weights"][0] * loss(theta, xq, yq) + jnp.dot(at["weights"][1:], after)

    data = [case.tasks.support.x, case.tasks.support.y, case.tasks.query.x, case.tasks.query.y]
    if data[0].ndim == 2:
        data = [one[None] for one in data]

    @jax.jit
    def both(joint, at):
        over_tasks = jax.vmap(meta, (None, None, 0, 0, 0, 0))
        return jax.value_and_grad(lambda joint: jnp.mean(over_tasks(joint, at, *data)))(joint)

    return both


def worst_error(case, rng, steps, both, monkeypatch):
    """Of the value and of the gradient by θ and all rates, for rates of a random structure."""
    model = case.model
    alpha = structure(rng, len(model.shapes), model.size, steps)
    weights = tuple(rng.uniform(-1, 1, steps + 1)) if rng.random() < 0.5 else None
    rates = engine.alpha.checked_rates(alpha, case.theta, model, steps)
    start = family.joined(model, case.theta, alpha, steps)
    start[model.size :] += 0.1 * rng.normal(size=len(rates.values))
    layered, pays = (bool(flip) for flip in rng.integers(2, size=2))
    monkeypatch.setattr(factored, "layered", lambda *_: layered)
    monkeypatch.setattr(factored, "pays", lambda *_: pays)
    gradient = family.Exact(learned=True, weights=weights)
    got_value, got = gradient(model, start, case.tasks, alpha, steps)

    # As many rates for every structure, so that one program is compiled; the last one is 0.
    values = np.zeros(steps * model.size + 3)
    values[: len(rates.values)] = rates.values * start[model.size :]
    extras = {"momentum": rates.form.momentum, "pull": rates.form.pull}
    at = {name: -1 if place is None else place for name, place in extras.items()}
    at["rates"] = np.stack(places(rates, model.shapes))
    at["weights"] = np.array(weights or (0,) * steps + (1,), float)
    value, want = map(np.asarray, both(np.concatenate([start[: model.size], values]), at))
    want = want[: len(start)]
    want = np.concatenate([want[: model.size], want[model.size :] * rates.values])
    return max(relative_error(got_value, value), relative_error(got, want))


@pytest.mark.parametrize("seed", range(NETWORKS))
def test_against_jax(seed, monkeypatch):
    case, rng = oracle.draw(seed), np.random.default_rng((seed, 2))
    steps = max(1, case.steps)
    both, before = oracle_of(case, steps), engine.replaying(False)
    errors = [worst_error(case, rng, steps, both, monkeypatch) for _ in range(STRUCTURES)]
    engine.replaying(before)
    assert max(errors) < PROMISED
