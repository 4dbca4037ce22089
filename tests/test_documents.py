"""Documents: links and paths that exist, decisions that are complete."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent
DOCUMENTS = sorted(
    [*REPOSITORY.glob("*.md"), *(REPOSITORY / "docs").rglob("*.md"), *(REPOSITORY / "bench").rglob("*.md")]
)
DOCUMENTS = [path for path in DOCUMENTS if not path.is_relative_to(REPOSITORY / "docs" / "site")]
DECISIONS = sorted((REPOSITORY / "docs" / "decisions").glob("[0-9]*.md"))
SECTIONS = ["Context", "Decision", "Rejected", "Figures", "When to look again"]


@cache
def anchors_of(document: Path) -> set[str]:
    """Anchors that GitHub gives the headings of a document."""
    headings = re.findall(r"^#+ (.*)$", document.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def is_broken(document: Path, link: str) -> bool:
    path, _, anchor = link.partition("#")
    target = document.parent / path if path else document
    return not target.exists() or (anchor != "" and anchor not in anchors_of(target))


def test_relative_links_lead_to_files_and_headings() -> None:
    links = [
        (document, link)
        for document in DOCUMENTS
        for link in re.findall(r"\]\(([^)\s]+)\)", document.read_text(encoding="utf-8"))
        if not re.match(r"\w+:", link)
    ]
    assert len(links) > len(DOCUMENTS)
    assert [f"{document}: {link}" for document, link in links if is_broken(document, link)] == []


def test_the_site_has_every_page() -> None:
    docs = REPOSITORY / "docs"
    pages = {path.relative_to(docs).with_suffix("").as_posix(): path for path in DOCUMENTS if path.is_relative_to(docs)}
    listed = {"index"}
    for name, path in pages.items():
        if name.rpartition("/")[2] == "index":
            listed |= {line.removeprefix("/") for line in path.read_text(encoding="utf-8").splitlines()}
    assert {page for page in pages if not page.startswith("decisions/0")} <= listed


def test_paths_named_in_the_architecture_exist() -> None:
    words = re.findall(r"`([^`\s]+)`", (REPOSITORY / "ARCHITECTURE.md").read_text(encoding="utf-8"))
    paths = [word for word in words if re.search(r"[a-z_]/[a-z_]|/$|\.py$", word)]
    assert len(paths) > 50
    assert not [path for path in paths if not (REPOSITORY / path).exists()]


def test_the_index_lists_every_decision_with_its_title_and_status() -> None:
    rows = []
    for path in DECISIONS:
        head = re.match(r"# \d+\. (.*)\n\nDate: .*? Status: (.*)\.\n", path.read_text(encoding="utf-8"))
        assert head is not None, path.name
        rows.append(f"| [{path.stem[:4]}]({path.name}) | {head[1]} | {head[2]} |")
    index = (REPOSITORY / "docs" / "decisions" / "README.md").read_text(encoding="utf-8")
    assert [line for line in index.splitlines() if line.startswith("| [")] == rows


def test_a_decision_has_all_sections() -> None:
    assert DECISIONS
    for decision in DECISIONS:
        assert re.findall(r"^## (.*)$", decision.read_text(encoding="utf-8"), re.MULTILINE) == SECTIONS, decision.name
