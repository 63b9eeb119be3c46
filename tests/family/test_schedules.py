"""Schedules: weights of losses as MAML++'s code has them, and what is refused."""

import dataclasses

import numpy as np
import pytest

import numaml
from numaml import family


def as_the_code_of_the_paper(epoch, steps, epochs):
    """v_1 … v_K, in the steps of get_per_step_loss_importance_vector of MAML++'s code."""
    weights, least = np.ones(steps) / steps, 0.03 / steps
    decay = 1 / steps / epochs
    weights[:-1] = np.maximum(weights[:-1] - epoch * decay, least)
    weights[-1] = np.minimum(weights[-1] + epoch * (steps - 1) * decay, 1 - (steps - 1) * least)
    return weights


@pytest.mark.parametrize("steps", [1, 2, 5])
def test_weights_move_to_the_last_epoch_by_epoch(steps):
    for schedule, epoch, epochs in ((family.MultiStep(), 500, 10), (family.MultiStep(7, 4), 7, 4)):
        for e in range(epochs + 3):
            want = as_the_code_of_the_paper(e, steps, epochs)
            for iteration in (e * epoch, (e + 1) * epoch - 1):
                first, *rest = schedule.at(iteration, steps)
                assert first == 0
                np.testing.assert_allclose(rest, want, rtol=1e-14, atol=1e-16)


def test_without_steps_the_one_loss_counts():
    assert family.MultiStep().at(3, 0) == (1.0,)


@pytest.mark.parametrize("bad", [True, "1", 1j, np.inf, None])
def test_weights_are_numbers(bad):
    with pytest.raises(ValueError, match="want finite numbers v_0"):
        family.Exact(weights=(0.1, bad))


def test_what_a_run_is_trained_with_cannot_be_changed():
    """And is hashable: recordings are kept by it."""
    annealed = family.Annealed(family.FirstOrder(), family.Exact(), until=2)
    for one in (annealed, annealed.then, annealed.first, family.MultiStep()):
        assert hash(one) == hash(dataclasses.replace(one))
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(one, dataclasses.fields(one)[0].name, 1)


def test_an_annealed_gradient_is_called_as_in_the_first_iteration():
    model, tasks = numaml.MLP((1, 3, 1)), numaml.Sinusoids(2)(np.random.default_rng(0))
    first, then = family.FirstOrder(weights=family.MultiStep(1, 2)), family.Exact()
    annealed, arguments = (
        family.Annealed(first, then, until=1),
        (model, model.init(0), tasks, 0.1, 2),
    )
    for iteration, gradient in ((0, annealed), (0, first), (1, then)):
        _, got = annealed.at(iteration)(*arguments)
        assert got.tobytes() == gradient(*arguments)[1].tobytes()
