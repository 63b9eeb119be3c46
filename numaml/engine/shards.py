"""A meta-batch in shards, each on a worker of any `concurrent.futures.Executor`.

The meta-gradient is a mean over tasks, so it is the mean of the shards' meta-gradients, each
weighted by its number of tasks: θ goes out, a gradient comes back.
"""

from __future__ import annotations  # concurrent.futures is named, not loaded

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from ..data.tasks import Batch, Tasks
from ..files.names import name_of
from ..network.settings import as_count
from .calls import meta_gradient
from .inner import Scheduled
from .parts import bounds, mean

if TYPE_CHECKING:
    from concurrent.futures import Executor, Future

Array = np.ndarray[Any, Any]
MetaGradient = Callable[..., tuple[Any, Array]]


def sharded(executor: Executor, shards: int, gradient: MetaGradient = meta_gradient) -> Any:
    """``gradient`` taken over shards of the tasks at once: the mean of theirs, weighted (M5).

    Parameters
    ----------
    executor : concurrent.futures.Executor
        Threads or processes of the standard library, ``dask.distributed``'s
        ``Client.get_executor()``, ``mpi4py.futures``' pool, … It runs the shards in any order on
        any number of workers, and decides whether the work of one that dies is done again.
    shards : int
        Number of parts, >= 1, that the tasks are split into, as equal as can be and in order.
    gradient : callable
        `meta_gradient`, `first_order_meta_gradient`, or anything of the same signature that
        depends on each task by itself and takes their mean.

    Returns
    -------
    gradient : callable
        Of the same signature, for `numaml.train` and ``scipy.optimize.minimize`` as it is.

    Raises
    ------
    TypeError, ValueError
        If shards is not an integer >= 1; by the callable, if the tasks have no task axis or are
        fewer than the shards.
    RuntimeError
        By the callable: if a shard could not be computed, or what it gave is not a finite value and
        a finite gradient of theta's shape and dtype; with its tasks and the cause. Nothing is
        averaged then, and the shards not yet begun are cancelled.

    Notes
    -----
    Shards are added in their order, so the bits of the result depend on the number of shards and on
    what NumPy computes for each of them, never on the executor, the number of its workers, or who
    is done first. What NumPy computes depends in its last bits on the kind of processor and on the
    number of BLAS threads: set ``OPENBLAS_NUM_THREADS`` alike for all workers. Against no shards
    the sums are taken in another order: equal to rounding.

    References
    ----------
    Finn, Abbeel, Levine 2017, Algorithm 1, line 10: a sum over tasks.

    Examples
    --------
    >>> import numpy as np, numaml
    >>> from concurrent.futures import ThreadPoolExecutor
    >>> model = numaml.MLP((1, 40, 40, 1))
    >>> tasks = numaml.Sinusoids(tasks=25)(np.random.default_rng(0))
    >>> arguments = (model, model.init(0), tasks, 0.01, 1)
    >>> with ThreadPoolExecutor(2) as executor:
    ...     value, gradient = numaml.sharded(executor, shards=4)(*arguments)
    >>> _, whole = numaml.meta_gradient(*arguments)
    >>> bool(np.allclose(gradient, whole, rtol=1e-12, atol=1e-14))
    True
    """
    shards = as_count("shards", shards)

    def over_shards(
        model: Any, theta: Array, tasks: Tasks, alpha: Any, steps: int
    ) -> tuple[Any, Array]:
        parts = list(_split(tasks, shards))
        sizes = [len(part.support.x) for part in parts]

        def submit(part: Tasks) -> Future[Any]:
            return executor.submit(gradient, model, theta, part, alpha, steps)

        return mean(_results(submit, parts, sizes, np.asarray(theta)), sizes)

    # What a checkpoint records: the bits depend on the number of shards.
    over_shards.__name__ = f"{name_of(gradient)} over {shards} shards"
    if isinstance(gradient, Scheduled):  # then it is one as well
        over_shards.at = lambda iteration: sharded(executor, shards, gradient.at(iteration))
    return over_shards


def _split(tasks: Tasks, shards: int) -> Iterator[Tasks]:
    """The tasks in so many parts, whose sizes differ by at most one."""
    if tasks.support.x.ndim < 3:
        raise ValueError(
            f"the support's x has shape {tasks.support.x.shape}; want a task axis to split: "
            "(T, n, n_in)"
        )
    count = len(tasks.support.x)
    if count < shards:
        raise ValueError(f"got {count} tasks for {shards} shards; want at least one for each")
    for start, stop in bounds(count, shards):
        yield Tasks(
            *(Batch(b.x[start:stop], b.y[start:stop]) for b in (tasks.support, tasks.query))
        )


def _results(
    submit: Callable[[Tasks], Future[Any]], parts: list[Tasks], sizes: list[int], theta: Array
) -> list[tuple[Any, Array]]:
    """What every shard gave, in order; or an error that names the one that failed."""
    futures, results = list[Any](), list[tuple[Any, Array]]()
    try:
        futures.extend(submit(part) for part in parts)
        results.extend(_checked(future.result(), theta) for future in futures)
    except KeyboardInterrupt:  # a worker's or our own: Ctrl-C reaches all processes
        raise
    except BaseException as error:  # a worker's SystemExit is no reason to end this program
        number = len(futures) if len(futures) < len(parts) else len(results)
        first = sum(sizes[:number])
        raise RuntimeError(
            f"shard {number + 1} of {len(sizes)} (tasks {first} to {first + sizes[number] - 1}) "
            f"failed: {type(error).__name__}: {error}; nothing was averaged, the other shards are "
            "dropped"
        ) from error
    finally:
        for future in futures:
            future.cancel()  # without effect on those that are done
    return results


def _checked(result: Any, theta: Array) -> tuple[Any, Array]:
    """What a shard gave, if it can be averaged with the others'."""
    if not (isinstance(result, tuple | list) and len(result) == 2):
        raise TypeError(f"got {type(result).__name__}, want (value, gradient)")
    value, gradient = np.asarray(result[0]), np.asarray(result[1])
    if value.shape != () or (gradient.shape, gradient.dtype) != (theta.shape, theta.dtype):
        raise TypeError(
            f"got a value of shape {value.shape} and a gradient {gradient.dtype} {gradient.shape}, "
            f"want one number and {theta.dtype} {theta.shape}, as theta is"
        )
    if not theta.dtype.hasobject and not (np.isfinite(value) and np.isfinite(gradient).all()):
        raise FloatingPointError("its value or its gradient is not finite")
    return result[0], gradient
