"""What pyproject.toml cannot say: the README as a package index shows it, and a page to read.

There is no clone around it there, so links to files of the repository would lead nowhere. The page
is made of derivations, code and tests, which a wheel has not: ``numaml read`` opens it.
"""

import re
import sys
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

ROOT = Path(__file__).parent
BOOK = ROOT / "derivations" / "book"
AWAY = r"(?!https?://|#)[^)\s]*"  # where a link leads that is an address nowhere but in a clone


def on_an_index(text: str) -> str:
    """The text without pictures from the repository, and with the words of links to its files."""
    text = re.sub(rf"!\[[^\]]*\]\({AWAY}\)\n*", "", text)
    return re.sub(rf"\[([^\]]+)\]\({AWAY}\)", r"\1", text)


class BuildWithPage(build_py):
    """Copies the package, and makes the page beside ``numaml/command/read.py``."""

    def run(self) -> None:
        super().run()
        if not self.editable_mode:
            sys.path.insert(0, str(BOOK))
            import side_by_side

            side_by_side.main([str(Path(self.build_lib, "numaml/command/side-by-side.html"))])


if __name__ == "__main__":
    setup(
        cmdclass={"build_py": BuildWithPage},
        long_description=on_an_index((ROOT / "README.md").read_text("utf-8")),
        long_description_content_type="text/markdown",
    )
