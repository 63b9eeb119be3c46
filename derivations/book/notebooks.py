"""The derivations and the textbook as notebooks whose cells run from top to bottom.

    python derivations/book/notebooks.py FOLDER

The pages stay what they are; a notebook is made of one, its examples without their prompts.
"""

import doctest
import re
import sys
from pathlib import Path

from formulas import ROOT, pages

FENCE = re.compile(r"^```python\n(.*?)^```\n", re.MULTILINE | re.DOTALL)
MATH = re.compile(r"^```math\n(.*?)^```", re.MULTILINE | re.DOTALL)
TEXTBOOK = ROOT / "numaml" / "textbook.py"


def of_page(text):
    """A notebook: prose, and cells that end where something is shown."""
    from nbformat.v4 import new_markdown_cell, new_notebook

    cells = []
    for i, piece in enumerate(FENCE.split(text)):
        if i % 2:
            cells += _cells(doctest.DocTestParser().get_examples(piece))
        elif piece.strip():
            cells.append(new_markdown_cell(MATH.sub(r"$$\n\1$$", piece).strip()))
    return _numbered(new_notebook(cells=cells))


def _cells(examples):
    from nbformat.v4 import new_code_cell

    sources = []
    for i, example in enumerate(examples):
        sources.append(example.source.rstrip())
        if example.want or i + 1 == len(examples):
            tags = {"tags": ["raises-exception"]} if example.exc_msg else {}
            yield new_code_cell("\n".join(sources), metadata=tags)
            sources = []


def of_textbook():
    """A notebook of the textbook, a cell for each piece between blank lines."""
    import jupytext

    return _numbered(jupytext.reads(TEXTBOOK.read_text(encoding="utf-8"), fmt="py:light"))


def _numbered(notebook):
    for i, cell in enumerate(notebook.cells):
        cell["id"] = f"cell-{i}"  # otherwise drawn by lot
    return notebook


def every():
    """Notebooks by name, in reading order."""
    read = {page.stem: of_page(page.read_text(encoding="utf-8")) for page in pages()}
    return {"textbook": of_textbook()} | read


def main(arguments):
    """Write them all."""
    import jupytext

    (folder,) = arguments or [str(ROOT / "build" / "notebooks")]
    Path(folder).mkdir(parents=True, exist_ok=True)
    for name, notebook in every().items():
        jupytext.write(notebook, Path(folder, f"{name}.ipynb"))
    print(f"notebooks: {folder}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
