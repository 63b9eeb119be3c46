"""Columns in standard units: what they were standardised by."""

from typing import Any, NamedTuple

import numpy as np

Array = np.ndarray[Any, Any]


class Scaling(NamedTuple):
    """What training standardised columns by: ``(x − x_mean) / x_scale``, and y alike.

    Parameters
    ----------
    x_mean, x_scale : (n_in,) arrays
        Scales are > 0.
    y_mean, y_scale : (n_out,) arrays
        Zeros and ones in classification.
    """

    x_mean: Array
    x_scale: Array
    y_mean: Array
    y_scale: Array


def limits(x: Array) -> dict[str, list[float]]:
    """The least and the largest number of every column, as a learner's provenance keeps them.

    Examples
    --------
    >>> import numpy as np
    >>> from numaml.data.scaling import limits
    >>> limits(np.array([[1.0, 7.0], [3.0, 5.0]]))
    {'least': [1.0, 5.0], 'most': [3.0, 7.0]}
    """
    return {"least": x.min(0).tolist(), "most": x.max(0).tolist()}
