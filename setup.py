"""What pyproject.toml cannot say: the README as a package index shows it.

There is no clone around it there, so links to files of the repository would lead nowhere.
"""

import re
from pathlib import Path

from setuptools import setup

AWAY = r"(?!https?://|#)[^)\s]*"  # where a link leads that is an address nowhere but in a clone


def on_an_index(text: str) -> str:
    """The text without pictures from the repository, and with the words of links to its files."""
    text = re.sub(rf"!\[[^\]]*\]\({AWAY}\)\n*", "", text)
    return re.sub(rf"\[([^\]]+)\]\({AWAY}\)", r"\1", text)


if __name__ == "__main__":
    setup(
        long_description=on_an_index(Path(__file__).with_name("README.md").read_text("utf-8")),
        long_description_content_type="text/markdown",
    )
