"""Handwriting without a download: drawings of random characters."""

from __future__ import annotations  # numpy.random is named, not loaded: 8 ms of the import

from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]


def glyphs(
    rng: np.random.Generator | int, classes: int = 100, examples: int = 20
) -> tuple[Array, Array]:
    """Handwriting without a download: 8×8-pixel drawings of random characters, and their labels.

    A character is a line through four random points; every drawing of it moves each of them a
    little.

    Parameters
    ----------
    rng : numpy Generator or int
        Where the numbers come from, or a seed.
    classes : int
        Characters.
    examples : int
        Drawings of each.

    Returns
    -------
    x : (classes · examples, 8, 8) uint8 array
        Ink 255 on 0.
    y : (classes · examples,) array
        Labels 0 … classes − 1.

    Examples
    --------
    >>> import numpy as np, numaml
    >>> x, y = numaml.glyphs(0, classes=30, examples=6)
    >>> for row in x[0]:
    ...     print("".join(".:+#"[ink // 64] for ink in row))
    +.......
    ##:.....
    #+#+....
    :#:##:..
    .#+.+##:
    .....:#+
    ........
    ........
    >>> source = numaml.FewShot(x, y, ways=5, shots=1, scale=1 / 255)
    >>> source(np.random.default_rng(0)).query.x.shape
    (32, 5, 64)
    """
    rng = np.random.default_rng(rng)
    corners = rng.uniform(0.5, 6.5, (classes, 1, 4, 1, 2))
    points = corners + rng.normal(0, 0.4, (classes, examples, 4, 1, 2))
    start, way = points[..., :-1, :, :], np.diff(points, axis=2)  # of the three strokes
    pixels = np.indices((8, 8)).reshape(2, 64).T
    along = ((pixels - start) * way).sum(-1, keepdims=True) / (way**2).sum(-1, keepdims=True)
    nearest = start + along.clip(0, 1) * way  # point of each stroke to each pixel
    distance = ((pixels - nearest) ** 2).sum(-1).min(2)  # squared; (classes, examples, 64)
    ink = np.exp(-distance / 0.8)
    x = np.round(255 * ink).astype(np.uint8).reshape(-1, 8, 8)
    return x, np.repeat(np.arange(classes), examples)
