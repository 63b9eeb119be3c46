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
