"""Fixtures that several files use."""

import pytest

from numaml.weights import choice


@pytest.fixture(scope="module", params=[choice.FEW, 0], ids=["as it is", "as if large"])
def handled(request):
    """Small networks, held flat; and the same as sums of factors, the way large ones are."""
    before, choice.FEW = choice.FEW, request.param
    yield
    choice.FEW = before
