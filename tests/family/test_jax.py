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
CONFIGURATIONS = 40
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


@pytest.mark.parametrize("seed", range(CONFIGURATIONS))
def test_against_jax(seed, monkeypatch):
    case, rng = oracle.draw(seed), np.random.default_rng((seed, 2))
    model, steps = case.model, max(1, case.steps)
    alpha = structure(rng, len(model.shapes), model.size, steps)
    weights = tuple(rng.uniform(-1, 1, steps + 1)) if rng.random() < 0.5 else None
    rates = engine.alpha.checked_rates(alpha, case.theta, model, steps)
    where, (m, p) = places(rates, model.shapes), (rates.form.momentum, rates.form.pull)
    loss = oracle.losses(case)[0]
    v = weights or (0,) * steps + (1,)

    def meta(joint, xs, ys, xq, yq):
        theta, values = joint[: model.size], joint[model.size :] * rates.values
        values, phi, u = jnp.append(values, 0.0), theta, 0.0
        total = v[0] * loss(phi, xq, yq)
        for k, place in enumerate(where):
            u = (0.0 if m is None else values[m] * u) + jax.grad(loss)(phi, xs, ys)
            u = u + (0.0 if p is None else values[p] * (phi - theta))
            phi = phi - values[place] * u
            total = total + v[k + 1] * loss(phi, xq, yq)
        return total

    data = [case.tasks.support.x, case.tasks.support.y, case.tasks.query.x, case.tasks.query.y]
    if data[0].ndim == 2:
        data = [one[None] for one in data]
    start = family.joined(model, case.theta, alpha, steps)
    start[model.size :] += 0.1 * rng.normal(size=len(rates.values))

    @jax.jit
    def both(joint, *data):
        mean = lambda joint: jnp.mean(jax.vmap(meta, (None, 0, 0, 0, 0))(joint, *data))  # noqa: E731
        return jax.value_and_grad(mean)(joint)

    value, want = map(np.asarray, both(start, *data))
    layered, pays = (bool(flip) for flip in np.random.default_rng((seed, 1)).integers(2, size=2))
    monkeypatch.setattr(factored, "layered", lambda *_: layered)
    monkeypatch.setattr(factored, "pays", lambda *_: pays)
    before = engine.replaying(False)
    gradient = family.Exact(learned=True, weights=weights)
    got_value, got = gradient(model, start, case.tasks, alpha, steps)
    engine.replaying(before)
    assert relative_error(got_value, value) < PROMISED
    assert relative_error(got, want) < PROMISED
