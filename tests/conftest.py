"""Fixtures that several files use."""

import pytest

from numaml.weights import factored


@pytest.fixture(scope="module", params=[factored.FEW, 0], ids=["as it is", "as if large"])
def handled(request):
    """Small networks, held flat; and the same as sums of factors, the way large ones are."""
    before, factored.FEW = factored.FEW, request.param
    yield
    factored.FEW = before
