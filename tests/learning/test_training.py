"""The outer loop: it learns, it resumes to the same bits, and faults lose nothing."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

import numaml
from numaml.learning.evaluation import evaluate, mean_and_interval
from numaml.learning.outer import adam, train
from numaml.learning.state import Moments, State

MODEL = numaml.MLP((1, 12, 1))
SOURCE = numaml.Sinusoids(tasks=5, shots=6, queries=7)
SETTINGS = {"alpha": 0.01, "steps": 2, "beta": 1e-3}


def run(folder=None, iterations=60, **changes):
    arguments = {**SETTINGS, "every": 10, "rng": 1, **changes}
    return train(MODEL, MODEL.init(0), SOURCE, iterations=iterations, folder=folder, **arguments)


def same(a, b):
    return (
        a.iteration == b.iteration
        and np.array_equal(a.theta, b.theta)
        and all(np.array_equal(x, y) for x, y in zip(a.moments, b.moments, strict=True))
        and a.values == b.values
        and str(a.rng.bit_generator.state) == str(b.rng.bit_generator.state)
    )


def test_training_learns_to_adapt():
    """Short, and a wrong gradient breaks it: the meta-value after adaptation falls by half, and
    adaptation itself, not the starting point, does the work."""
    model = numaml.MLP((1, 20, 20, 1), "tanh")
    state = train(
        model, model.init(0), numaml.Sinusoids(25), alpha=0.02, steps=3, beta=3e-3, iterations=600
    )
    assert np.mean(state.values[-50:]) < 0.5 * np.mean(state.values[:50])
    losses = evaluate(model, state.theta, numaml.Sinusoids(200)(np.random.default_rng(5)), 0.02, 3)
    mean, interval = mean_and_interval(losses)
    assert mean[3] + interval[3] < 0.6 * mean[0]


def test_a_wrong_gradient_does_not_learn_like_that():
    """The planted sign shows in the meta-value at once: the test above can fail."""

    def wrong(*arguments):
        value, gradient = numaml.meta_gradient(*arguments)
        return value, -gradient

    wrong_way, right_way = run(gradient=wrong, iterations=300), run(iterations=300)
    assert np.mean(wrong_way.values[-100:]) > 1.5 * np.mean(right_way.values[-100:])


def test_a_resumed_run_has_the_bits_of_an_uninterrupted_one(tmp_path):
    whole = run(tmp_path / "whole")
    run(tmp_path / "parts", iterations=17)
    run(tmp_path / "parts", iterations=43, resume=True)
    parts = run(tmp_path / "parts", resume=True)
    assert same(whole, parts)
    assert same(whole, State.load(tmp_path / "parts"))
    assert same(whole, run())
    files = [tmp_path / name / "metrics.csv" for name in ("whole", "parts")]
    assert files[0].read_bytes() == files[1].read_bytes()


def test_an_outer_rate_that_decays_is_resumed_to_the_same_bits(tmp_path):
    whole = run(decay=True)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, decay=True, progress=interrupt_at(17))
    assert same(whole, run(tmp_path, decay=True, resume=True))
    with pytest.raises(ValueError, match="with decay = 60, not None"):
        run(tmp_path, iterations=90, resume=True)
    with pytest.raises(ValueError, match="with decay = 60, not 90"):
        run(tmp_path, iterations=90, decay=True, resume=True)


def test_the_outer_rate_falls_linearly_to_nothing():
    """Adam's first step is beta, whatever the gradient; so is every step of a constant gradient."""
    thetas = []

    def constant(_model, theta, *_):
        thetas.append(theta)
        return 1.0, np.ones_like(theta)

    last = run(gradient=constant, iterations=5, decay=True).theta
    steps = -np.diff([*thetas, last], axis=0)[:, 0] / SETTINGS["beta"]
    np.testing.assert_allclose(steps, [1, 0.8, 0.6, 0.4, 0.2], rtol=1e-6)  # Adam's ε is 1e-8


def interrupt_at(iteration):
    def progress(i, _value):
        if i == iteration:
            signal.raise_signal(signal.SIGINT)

    return progress


@pytest.mark.parametrize("bits", ["PCG64", "PCG64DXSM", "MT19937", "Philox", "SFC64"])
def test_every_generator_of_numpy_is_resumed(tmp_path, bits):
    def start(folder, iterations):
        rng = np.random.Generator(getattr(np.random, bits)(3))
        return run(folder, iterations, rng=rng, resume=True)

    start(tmp_path / "parts", 5)
    assert same(start(tmp_path / "whole", 9), start(tmp_path / "parts", 9))


def test_theta_is_not_changed_and_its_dtype_is_kept():
    theta = MODEL.init(0, np.float32)
    before = theta.copy()
    state = train(MODEL, theta, SOURCE, iterations=3, **SETTINGS)
    assert np.array_equal(theta, before)
    assert state.theta.dtype == state.moments.first.dtype == np.float32


def test_own_model_and_own_source():
    """Anything with value and linearize, and any function from a Generator to tasks."""

    class Mean:
        def value(self, theta, batch):
            return np.mean((theta - batch) ** 2, axis=(-2, -1))

        def linearize(self, theta, batch):
            gradient = 2 * np.mean(theta - batch, axis=-2) / theta.shape[-1]
            return self.value(theta, batch), gradient, lambda v: 2 * v / theta.shape[-1]

    class Two:
        def __init__(self, rng):
            self.support, self.query = rng.normal(3.0, 0.1, size=(2, 4, 2))

    state = train(Mean(), np.zeros(2), Two, alpha=0.1, steps=2, beta=0.1, iterations=200)
    np.testing.assert_allclose(state.theta, 3.0, atol=0.2)


def test_a_folder_in_use_is_not_overwritten(tmp_path):
    run(tmp_path, 20)
    before = (tmp_path / "checkpoint.npz").read_bytes()
    with pytest.raises(FileExistsError, match="holds a checkpoint already; resume it"):
        run(tmp_path, 30)
    with pytest.raises(ValueError, match=r"trained with alpha = 0.01, not 0.02; resume it as"):
        run(tmp_path, 30, resume=True, alpha=0.02)
    with pytest.raises(ValueError, match=r"gradient = 'meta_gradient', not 'first_order"):
        run(tmp_path, 30, resume=True, gradient=numaml.first_order_meta_gradient)
    assert (tmp_path / "checkpoint.npz").read_bytes() == before


def test_divergence_stops_with_its_cause_and_keeps_the_last_checkpoint(tmp_path):
    def poisoned(*arguments):
        value, gradient = numaml.meta_gradient(*arguments)
        poisoned.calls += 1
        return (np.nan if poisoned.calls == 25 else value), gradient

    poisoned.calls, poisoned.__name__ = 0, "NaN at the 25th call"
    message = r"iteration 25: the meta-value is nan .*alpha = 0.01, beta = 0.001, steps = 2.*"
    with pytest.raises(FloatingPointError, match=message + r"last good checkpoint: iteration 20"):
        run(tmp_path, gradient=poisoned)
    assert State.load(tmp_path).iteration == 20
    assert np.isfinite(State.load(tmp_path).theta).all()


def test_overflow_of_a_too_large_alpha_is_divergence():
    with pytest.raises(FloatingPointError, match=r"alpha = 1000000.0.*try a smaller alpha"):
        run(alpha=1e6, steps=12)


def test_a_gradient_that_is_not_finite_is_divergence():
    def bad(*arguments):
        value, gradient = numaml.meta_gradient(*arguments)
        return value, gradient * np.inf

    with (
        pytest.raises(FloatingPointError, match="iteration 1: the meta-gradient is not finite"),
        np.errstate(invalid="ignore"),
    ):
        run(gradient=bad)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"iterations": -1}, "iterations is -1; want an integer >= 0"),
        ({"iterations": 1.5}, "iterations is 1.5"),
        ({"iterations": True}, "iterations is True; want an integer"),
        ({"every": 0}, "every is 0; want an integer >= 1"),
        ({"beta": 0.0}, "beta is 0.0; want an outer learning rate > 0"),
        ({"beta": np.nan}, "beta is nan"),
        ({"beta": True}, "beta is True; want an outer learning rate > 0"),
        ({"beta": 1e-3 + 0j}, r"beta is \(0.001\+0j\); want an outer"),
        ({"every": 2.0}, "every is 2.0; want an integer >= 1"),
        ({"resume": True}, "resume is True and there is no folder"),
    ],
)
def test_bad_arguments(change, message):
    with pytest.raises((TypeError, ValueError), match=message):
        run(**change)


@pytest.mark.parametrize(
    "damage", ["empty", "cut", "text", "other", "object", "generator", "header", "method"]
)
def test_a_damaged_checkpoint_is_an_error_and_stays_as_it_is(tmp_path, damage):
    run(tmp_path, 20)
    path = tmp_path / "checkpoint.npz"
    content = path.read_bytes()
    if damage == "other":
        np.savez(path, theta=np.ones(3))
    elif damage in ("object", "generator"):
        arrays = dict(np.load(path))
        if damage == "object":
            arrays["theta"] = np.array([print], object)
        else:
            arrays["rng"] = np.array(json.dumps({"bit_generator": "system"}))
        np.savez(path, **arrays)
    else:
        damaged = {
            "empty": b"",
            "cut": content[:-200],
            "text": b"hello",
            "header": content.replace(b"'shape': (", b"'shape': [", 1),  # tokenize.TokenError
            "method": content.replace(b"\0\0\0!\0", b"\x61\0\0!\0"),  # NotImplementedError
        }
        path.write_bytes(damaged[damage])
    damaged = path.read_bytes()
    with pytest.raises(ValueError, match=r"is not a readable checkpoint"):
        run(tmp_path, 30, resume=True)
    assert path.read_bytes() == damaged


def test_a_missing_checkpoint_is_an_error(tmp_path):
    with pytest.raises(FileNotFoundError, match="want the folder of a training run"):
        State.load(tmp_path)


def test_an_unwritable_place_is_found_out_before_training(tmp_path):
    (tmp_path / "file").write_text("")
    calls = []
    with pytest.raises(OSError, match="file"):
        run(tmp_path / "file" / "run", progress=lambda *_: calls.append(1))
    assert not calls


def test_a_failed_write_leaves_the_old_file_and_no_litter(tmp_path, monkeypatch):
    run(tmp_path, 20)
    before = (tmp_path / "checkpoint.npz").read_bytes()

    def full(_descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        run(tmp_path, 40, resume=True)
    assert (tmp_path / "checkpoint.npz").read_bytes() == before
    assert {path.name for path in tmp_path.iterdir()} == {"checkpoint.npz", "metrics.csv"}


def zigzag(theta):
    """A score whose best is neither first nor last, from theta alone."""
    zigzag.calls += 1
    return -(float(np.abs(theta - MODEL.init(0)).sum() - zigzag.top) ** 2)


def test_the_best_of_the_validations_is_kept(tmp_path):
    moved = [np.abs(run(iterations=n).theta - MODEL.init(0)).sum() for n in (0, 30, 60)]
    zigzag.top, zigzag.calls = (moved[0] + moved[2]) / 2, 0
    state = run(tmp_path, 65, validate=zigzag)
    iterations, scores = zip(*state.scores, strict=True)
    assert iterations == (10, 20, 30, 40, 50, 60)
    assert zigzag.calls == 6
    top = iterations[int(np.argmax(scores))]
    assert 10 < top < 60
    assert np.array_equal(state.best, run(iterations=top).theta)
    assert np.array_equal(state.theta, run(iterations=65).theta)
    header, *rows = (tmp_path / "validation.csv").read_text().splitlines()
    assert header == "iteration,score"
    assert rows == [f"{i},{score}" for i, score in state.scores]


def test_the_first_of_equal_validations_is_kept():
    state = run(iterations=30, validate=lambda theta: 1)
    assert np.array_equal(state.best, run(iterations=10).theta)


def test_validations_are_resumed_to_the_same_bits(tmp_path):
    zigzag.top = 0.2
    whole = run(tmp_path / "whole", 75, validate=zigzag)
    for stop in (17, 40, 75):
        parts = run(tmp_path / "parts", stop, validate=zigzag, resume=True)
    loaded = State.load(tmp_path / "parts")
    for one in (parts, loaded):
        assert same(whole, one)
        assert one.scores == whole.scores
        assert np.array_equal(one.best, whole.best)
    files = [tmp_path / name / "validation.csv" for name in ("whole", "parts")]
    assert files[0].read_bytes() == files[1].read_bytes()


def test_without_validation_there_is_no_best(tmp_path):
    assert run(tmp_path, 20).best is None
    assert State.load(tmp_path).best is None
    assert not (tmp_path / "validation.csv").exists()


def test_a_score_that_is_no_number_stops_training(tmp_path):
    with pytest.raises(FloatingPointError, match="validation at iteration 10 gave nan"):
        run(tmp_path, validate=lambda theta: np.nan)
    assert State.load(tmp_path).iteration == 0


def test_metrics(tmp_path):
    state = run(tmp_path, 250)
    header, *rows = (tmp_path / "metrics.csv").read_text().splitlines()
    assert header == "iteration,meta_value"
    assert [row.split(",")[0] for row in rows] == ["100", "200"]
    np.testing.assert_allclose(float(rows[1].split(",")[1]), np.mean(state.values[100:200]))


INTERRUPTED = """
import sys
import numaml
model = numaml.MLP((1, 12, 1))
numaml.train(
    model, model.init(0), numaml.Sinusoids(5, 6, 7), alpha=0.01, steps=2, beta=1e-3,
    iterations=10**9, rng=1, folder=sys.argv[1], every=10**9,
    progress=lambda iteration, value: print("running", flush=True) if iteration == 20 else None,
)
"""


def test_ctrl_c_leaves_a_checkpoint_that_resumes_to_the_same_bits(tmp_path):
    process = subprocess.Popen(
        [sys.executable, "-c", INTERRUPTED, str(tmp_path)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdout.readline() == "running\n"
    time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=20)
    assert "KeyboardInterrupt" in errors
    stopped = State.load(tmp_path).iteration
    assert stopped >= 20
    resumed = run(tmp_path, stopped + 30, resume=True, every=10**9)
    assert same(resumed, run(iterations=stopped + 30))


def test_the_interrupt_handler_is_put_back():
    before = signal.getsignal(signal.SIGINT)
    run(iterations=2)
    assert signal.getsignal(signal.SIGINT) is before


def test_adam_changes_nothing_in_place():
    theta, gradient = np.ones(3), np.full(3, 2.0)
    moments = Moments(np.zeros(3), np.zeros(3), 0)
    new, _ = adam(theta, gradient, moments, 0.1)
    np.testing.assert_allclose(new, 0.9, rtol=1e-6)  # the first step is beta, whatever the scale
    assert (theta == 1).all()
    assert not moments.first.any()


def test_evaluate_is_the_query_loss_after_each_step():
    tasks = SOURCE(np.random.default_rng(0))
    theta = MODEL.init(0)
    losses = evaluate(MODEL, theta, tasks, 0.01, 3)
    assert losses.shape == (4, 5)
    for steps in range(4):
        assert losses[steps].mean() == numaml.meta_value(MODEL, theta, tasks, 0.01, steps)
    np.testing.assert_allclose(mean_and_interval(losses)[0], losses.mean(axis=1))


@pytest.mark.parametrize("tasks", [2, 3, 4, 6, 11, 29])
def test_the_interval_of_few_tasks_is_students(tasks):
    losses = np.random.default_rng(0).normal(size=(3, tasks))
    t = stats.t.ppf(0.975, tasks - 1)
    interval = mean_and_interval(losses)[1]
    np.testing.assert_allclose(interval, t * stats.sem(losses, axis=1), rtol=0.004)


def test_the_interval_of_many_tasks_and_of_one():
    losses = np.random.default_rng(0).normal(size=(3, 30))
    interval = mean_and_interval(losses)[1]
    np.testing.assert_allclose(interval, 1.96 * losses.std(axis=1) / np.sqrt(30))
    mean, interval = mean_and_interval(losses[:, :1])
    assert mean.tolist() == losses[:, 0].tolist()
    assert np.isnan(interval).all()


def test_sinusoids_are_the_papers():
    source = numaml.Sinusoids(tasks=4000, shots=3, queries=4)
    tasks = source(np.random.default_rng(0))
    assert tasks.support.x.shape == (4000, 3, 1)
    assert tasks.query.y.shape == (4000, 4, 1)
    amplitude, phase = source.draw(np.random.default_rng(0))
    y = amplitude * np.sin(tasks.support.x - phase)
    assert np.array_equal(y, tasks.support.y)
    for values, low, high in ((amplitude, 0.1, 5), (phase, 0, np.pi), (tasks.query.x, -5, 5)):
        assert low <= values.min() < low + 0.01 * (high - low)
        assert high >= values.max() > high - 0.01 * (high - low)
        assert abs(values.mean() - (low + high) / 2) < 0.02 * (high - low)


def test_the_package_is_where_it_should_be():
    assert Path(numaml.__file__).with_name("py.typed").exists()
