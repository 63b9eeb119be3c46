"""Build the book: warnings are errors, and every link within it is followed.

    python derivations/book/make.py [FOLDER]

writes it to build/book, or to FOLDER; begin at its index.html. It needs the extra ``[docs]`` and no
network.
"""

import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

HERE = Path(__file__).parent
ROOT = HERE.parents[1]


def main(arguments):
    """Build, and follow the links; 1 if something is wrong."""
    from sphinx.cmd.build import main as sphinx

    (folder,) = arguments or [str(ROOT / "build" / "book")]
    options = ["-q", "-W", "--keep-going", "-j", "auto", "-c", str(HERE), "-b", "html"]
    status = sphinx([*options, str(ROOT), folder])
    complaints = dead_links(Path(folder)) if not status else []
    for one in complaints:
        print(one, file=sys.stderr)
    if not status and not complaints:
        print(f"the book: {Path(folder, 'index.html')}")
    return int(bool(status or complaints))


class Page(HTMLParser):
    """Where a page leads, and what can be led to in it."""

    def __init__(self, text):
        super().__init__()
        self.links, self.loaded, self.anchors = [], [], set()
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        """Note an element's addresses and names."""
        for name, value in attrs:
            if name == "src" or (tag == "link" and name == "href"):
                self.loaded.append(value)
            elif name == "href" and value:
                self.links.append(value)
            elif name in ("id", "name") and value:
                self.anchors.add(value)


def dead_links(folder):
    """What leads nowhere, and what a page would load from elsewhere."""
    pages = {path: Page(path.read_text(encoding="utf-8")) for path in folder.rglob("*.html")
             if "_static" not in path.parts}  # fmt: skip
    complaints = set()
    for path, page in pages.items():
        where = path.relative_to(folder)
        for link in [*page.links, *page.loaded]:
            parts = urlsplit(link)
            file = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            if parts.scheme or parts.netloc:
                if link in page.loaded and parts.scheme != "data":
                    complaints.add(f"{where}: {link} is elsewhere")
            elif not file.exists() or _no_anchor(pages.get(file), unquote(parts.fragment)):
                complaints.add(f"{where}: {link} leads nowhere")
    return sorted(complaints)


def _no_anchor(page, fragment):
    return page is not None and fragment and fragment not in page.anchors


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
