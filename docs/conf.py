"""Settings of the documentation site: ``make docs`` builds docs/site/html/index.html from the pages in this folder.

Pages are written for a reader of the repository. Links that leave this folder are changed while the site is built: to
the site's page where the file is one, else to plain text.
"""

from __future__ import annotations

import os
import re
import sys
from importlib.metadata import version as installed_version
from pathlib import Path
from typing import Any

DOCS = Path(__file__).resolve().parent
REPOSITORY = DOCS.parent
# Page of the site -> file outside this folder that it shows.
SHOWN = {
    "background/security": "SECURITY.md",
    "develop/architecture": "ARCHITECTURE.md",
    "develop/conduct": "CODE_OF_CONDUCT.md",
    "develop/contributing": "CONTRIBUTING.md",
    "start/changes": "CHANGELOG.md",
}
_LINK = re.compile(r"(?<!!)\[((?:[^\[\]]|\[[^\]]*\])*)\]\(([^()\s]+)\)")

project = "pixelforest"
author = "the authors of pixelforest"
copyright = author
version = release = installed_version("pixelforest")
extensions = ["sphinx.ext.autodoc", "numpydoc", "myst_nb"]
source_suffix = {".md": "myst-nb", ".ipynb": "myst-nb"}
exclude_patterns = ["site", "**.ipynb_checkpoints"]
html_theme = "pydata_sphinx_theme"
html_title = "pixelforest"
html_theme_options: dict[str, Any] = {
    "show_toc_level": 2,
    "header_links_before_dropdown": 6,
    "navigation_with_keys": False,
    "secondary_sidebar_items": ["page-toc"],
    "footer_start": ["copyright"],
    "footer_end": [],
}
html_sidebars = {"index": []}
html_show_sourcelink = False
html_copy_source = False
html_static_path: list[str] = []

myst_heading_anchors = 4
myst_enable_extensions = ["colon_fence"]
suppress_warnings = ["misc.highlighting_failure"]  # console output with an ellipsis

autosummary_generate = False  # numpydoc loads it
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_typehints_format = "short"
numpydoc_show_class_members = False
numpydoc_class_members_toctree = False
# Names of other projects and of Python have no pages here; every reference to one of ours must lead somewhere.
nitpicky = True
nitpick_ignore_regex = [(r"py:.*", r"(?!pixelforest\b).*")]
nitpick_ignore = [("py:class", "pixelforest.engine.project.project.Project")]  # its attributes are not public
# The notebook is executed by a test, and its outputs are part of the file.
nb_execution_mode = "off"


def _place(page: str) -> Path:
    """Return the file in the repository that a page of the site shows."""
    return REPOSITORY / SHOWN[page] if page in SHOWN else (DOCS / page).with_suffix(".md")


def _site_page(file: Path) -> str | None:
    """Return the page or download that shows a file, as an absolute path of the site; None if none does."""
    shown = {REPOSITORY / name: page for page, name in SHOWN.items()}
    if file in shown:
        return f"/{shown[file]}.md"
    if file.is_file() and file.is_relative_to(DOCS) and file.suffix in (".md", ".ipynb", ".html"):
        return f"/{file.relative_to(DOCS).as_posix()}"
    return None


def _change_link(match: re.Match[str], folder: Path) -> str:
    text, target = match.groups()
    if re.match(r"\w+:|#", target):
        return match[0]
    name, hash_mark, anchor = target.partition("#")
    page = _site_page(Path(os.path.normpath(folder / name)))
    return text if page is None else f"[{text}]({page}{hash_mark}{anchor})"


def read_page(app: object, page: str, content: list[str]) -> None:
    """Put the shown file in place of a page that only names it, and change the links of every page."""
    place = _place(page)
    if place.suffix == ".md" and place.is_file():
        text = place.read_text(encoding="utf-8")
        content[0] = _LINK.sub(lambda match: _change_link(match, place.parent), text)
    if page == "decisions/README":
        content[0] += "\n```{toctree}\n:hidden:\n:glob:\n\n0*\n```\n"


def setup(app: Any) -> None:
    """Connect to Sphinx."""
    app.connect("source-read", read_page)


sys.dont_write_bytecode = True
