"""A learner in the user's units, its file, and what is no such file."""

import numpy as np

import numaml
from numaml import MLP, Learner, Scaling

MODEL = MLP((3, 8, 2), "tanh")
CLASSIFIER = MLP((4, 9, 3), loss="cross_entropy", norm="layer")
UNITS = Scaling([5.0, -1.0, 200.0], [2.0, 0.1, 50.0], [10.0, -1e6], [3.0, 1e5])


def regression(dtype=np.float64, **changes):
    settings = {"alpha": 0.1, "steps": 7, "scaling": UNITS, "provenance": {"seed": 3}}
    return Learner(MODEL, MODEL.init(0, dtype), **(settings | changes))


def classification(**changes):
    settings = {"alpha": 0.5, "steps": 20, "classes": np.array(["ant", "bee", "cow"])}
    return Learner(CLASSIFIER, CLASSIFIER.init(1, np.float32), **(settings | changes))


def rows(n=6, seed=0):
    """Support in the user's units, the standardised one, and a query in the user's units."""
    rng = np.random.default_rng(seed)
    x, y, query = rng.normal(size=(n, 3)), rng.normal(size=(n, 2)), rng.normal(size=(5, 3))
    mean_x, scale_x, mean_y, scale_y = map(np.array, UNITS)
    return (x * scale_x + mean_x, y * scale_y + mean_y), (x, y), query * scale_x + mean_x


def test_adapting_in_the_users_units_is_adapting_the_standardised():
    (x, y), (x_std, y_std), query = rows()
    phi = numaml.adapt(MODEL, MODEL.init(0), numaml.Batch(x_std, y_std), 0.1, 7)
    adapted = regression().adapt(x, y)
    np.testing.assert_allclose(adapted.phi, phi, rtol=1e-9)  # the units' rounding
    u = MODEL.predict(phi, (query - np.array(UNITS.x_mean)) / np.array(UNITS.x_scale))
    wanted = u * np.array(UNITS.y_scale) + np.array(UNITS.y_mean)
    np.testing.assert_allclose(adapted.predict(query), wanted, rtol=1e-9)
