"""Fixtures that several files use; one thread for BLAS, for tests run side by side already."""

import os

for _name in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_name, "1")  # read when NumPy is imported, which is below

import pytest

from numaml import engine
from numaml.command import train
from numaml.experiments.runs import fit
from numaml.weights import factored


@pytest.fixture(scope="module")
def in_turn():
    """Learners are trained one after another in this process: none waits for others to start."""

    def fit_all(jobs, progress):
        for job, shown in zip(jobs, progress, strict=True):
            fit(*job, shown)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(train, "fit_all", fit_all)
        yield


@pytest.fixture
def plain():
    """Every call runs as the program stands, none is replayed: what a test changes is seen."""
    before = engine.replaying(False)
    yield
    engine.replaying(before)


@pytest.fixture(scope="module", params=[False, True], ids=["as it is", "as if large"])
def handled(request):
    """Small networks, held flat; and layer by layer, the way large ones are.

    Factors then pay longer than they do, so that both forms of a weight occur in small networks.
    """
    with pytest.MonkeyPatch.context() as patch:
        if request.param:
            patch.setattr(factored, "layered", lambda *_: True)
            patch.setattr(factored, "pays", lambda rank, n_in, n_out: rank < n_in + n_out)
        before = engine.replaying(False)
        yield
        engine.replaying(before)
