"""How far a training is: a bar on a terminal, else a line for each learner when it is done."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from .say import complain

PAUSE = 0.2  # seconds between two looks of a bar
LINES = 5.0  # and between two lines, on a terminal without a bar


@contextmanager
def shown(
    title: str, total: int, place: int = 0, quiet: bool = False
) -> Iterator[Callable[..., None]]:
    """A tqdm bar, or without tqdm lines, for as long as iterations are reported to it.

    ``place`` is the bar's line, counted from 0, where several are shown at once. Where nobody
    looks, since stderr is no terminal, there is one line at the last iteration; with ``quiet``
    there is nothing at all.
    """
    if quiet:
        yield lambda *_: None
        return
    if not sys.stderr.isatty():
        yield _lines(title, total, float("inf"))
        return
    try:
        from tqdm import tqdm
    except ImportError:
        complain(f"{title} (a progress bar needs tqdm: pip install 'numaml[progress]')")
        yield _lines(title, total, LINES)
        return
    recent: list[float] = []
    spoke = time.monotonic()
    with tqdm(total=total, desc=title, unit="step", dynamic_ncols=True, position=place) as bar:

        def update(iteration: int, value: float, *score: float) -> None:
            nonlocal spoke
            recent.append(value)
            if time.monotonic() - spoke > PAUSE or iteration == total:
                spoke = time.monotonic()
                bar.set_postfix_str(text_of(sum(recent) / len(recent), *score), refresh=False)
                bar.update(iteration - bar.n)
                del recent[:-100]

        yield update


def text_of(value: float, *score: float) -> str:
    """The meta-value, and what validation gave last: an accuracy, or minus an error."""
    shown = (f"{one:.1%}" if one >= 0 else f"{-one:.3g}" for one in score)
    return f"meta-value {value:.3f}" + "".join(f", validation {one}" for one in shown)


def _lines(title: str, total: int, pause: float) -> Callable[..., None]:
    """A line after so many seconds, and one at the end."""
    start, first, spoke = time.monotonic(), 0, time.monotonic()

    def update(iteration: int, value: float, *score: float) -> None:
        nonlocal first, spoke
        first, now = first or iteration, time.monotonic()
        if now - spoke > pause or iteration == total:
            spoke = now
            left = (now - start) / (iteration - first + 1) * (total - iteration)
            when = f"{left:.0f} s left" if left else f"{now - start:.0f} s"
            text = text_of(value, *score)
            complain(f"{title}: step {iteration} of {total}, {text}, {when}")

    return update
