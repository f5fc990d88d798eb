"""The documents keep up with the code."""

import re
from pathlib import Path

import pytest

from tfcausal import methods

ROOT = Path(__file__).parents[1]
DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


def anchors(path: Path) -> set[str]:
    """Returns what can follow # in a link to a document, as GitHub names headings."""
    headings = re.findall(r"^#+ (.*)$", path.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", one).lower().replace(" ", "-") for one in headings}


@pytest.mark.parametrize("name", methods.names())
def test_every_method_has_its_row(name: str) -> None:
    text = (ROOT / "docs" / "methods.md").read_text(encoding="utf-8")
    (row,) = re.findall(rf"^\| `{name}` \|.*$", text, re.MULTILINE)
    header = re.search(r"^\| name .*$", text, re.MULTILINE)
    assert header is not None
    assert row.count("|") == header.group().count("|")
    assert all(cell.strip() for cell in row.strip("|").split("|"))


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_links_between_documents_lead_somewhere(path: Path) -> None:
    links = re.findall(
        r"\]\(([^)#:]*)(?:#([^)]+))?\)", path.read_text(encoding="utf-8")
    )
    for target, anchor in links:
        document = path.parent / target if target else path
        assert document.exists(), target
        assert not anchor or anchor in anchors(document), (target, anchor)
