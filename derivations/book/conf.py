"""Sphinx: how the book is set. `make.py` builds it; what is done besides is in `binding.py`."""

import sys
import tomllib
from pathlib import Path

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
sys.path[:0] = [str(HERE), str(ROOT)]

project = "numaml"
author = "The numaml authors"
copyright = "the numaml authors; MIT licence"  # noqa: A001  # the name that Sphinx asks for
version = release = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.linkcode", "numpydoc", "binding"]
root_doc = "README"
exclude_patterns = [".*", "build", "dist", "runs", "**/__pycache__"]
include_patterns = [
    "README.md",
    "CONTRIBUTING.md",
    "CHANGELOG.md",
    "derivations/**.md",
    "examples/**.md",
    "numaml/check/vectors/README.md",
    "tests/MUTANTS.md",
]
default_role = "py:obj"
nitpicky = False  # docstrings speak of names in types, which lead nowhere
suppress_warnings = ["config.cache"]  # linkcode_resolve is a function

myst_fence_as_directive = {"math"}
myst_heading_anchors = 4
myst_enable_extensions = ["colon_fence"]
html_math_renderer = "mathml"

numpydoc_show_class_members = False
autodoc_default_options = {"members": True, "inherited-members": False}
autodoc_member_order = "bysource"
autodoc_typehints = "none"  # the docstrings say types, with shapes

html_theme = "pydata_sphinx_theme"
html_title = f"numaml {release}"
html_static_path = ["static"]
html_css_files = ["side-by-side.css", "book.css"]
html_copy_source = html_show_sourcelink = False
html_theme_options = {
    "show_prev_next": True,
    "navigation_with_keys": False,
    "header_links_before_dropdown": 5,
    "navbar_align": "left",
    "footer_start": ["copyright"],
    "footer_end": [],
    "pygments_light_style": "a11y-high-contrast-light",
    "pygments_dark_style": "a11y-high-contrast-dark",
    "secondary_sidebar_items": {"**": ["page-toc"], "derivations/book/side-by-side": []},
}
ALONE = (
    "README",
    *(f"derivations/book/{one}" for one in ("side-by-side", "questions", "glossary")),
)
html_sidebars = {page: [] for page in ALONE}


def linkcode_resolve(domain, info):
    """Where the source of a name is shown, seen from a page of the reference."""
    from binding import source_of

    return source_of(info["module"], info["fullname"])
