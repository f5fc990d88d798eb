"""The page's document: its bytes, its policy, and what data cannot do in it."""

import base64
import hashlib
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from tests.reports.pages import NASTY, marked_up, read_data
from tfcausal.errors import InputError
from tfcausal.reports.html import render, require_html, write_page
from tfcausal.reports.model_page import ModelPage, model_page


@pytest.fixture(scope="module")
def page(model: Path) -> ModelPage:
    return model_page(model, ["u5"], k=3)


class _Elements(HTMLParser):
    """Collects the elements of a document and what they ask for."""

    def __init__(self, document: str) -> None:
        super().__init__()
        self.names: list[str] = []
        self.asked: list[str] = []
        self.feed(document)

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.names.append(tag)
        self.asked += [value for name, value in attrs if name in ("src", "href")]


def test_texts_of_data_are_no_markup(page: ModelPage, tmp_path: Path) -> None:
    nasty = marked_up(page)
    plain, found = _Elements(render(page)), _Elements(render(nasty))
    assert found.names == plain.names
    assert "b" not in found.names
    write_page(nasty, tmp_path / "page.html")
    data = read_data(tmp_path / "page.html")
    assert data["model"] == data["items"][0]["title"] == NASTY
    assert data["people"][0]["name"] == data["items"][0]["item_id"] == NASTY


def test_nothing_is_loaded(page: ModelPage) -> None:
    document = render(page)
    assert _Elements(document).asked == []
    assert not re.search(r"https?:|//\w|url\(|@import", document)


def test_the_policy_allows_the_pages_own_style_and_script_alone(
    page: ModelPage,
) -> None:
    document = render(page)
    (policy,) = re.findall(r'Policy" content="([^"]*)"', document)
    assert policy.startswith("default-src 'none';")
    for rule, element in (("style-src", "style"), ("script-src", "script")):
        (text,) = re.findall(rf"<{element}>(.*?)</{element}>", document, re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        assert f"{rule} 'sha256-{digest}';" in policy


def test_same_model_same_bytes(page: ModelPage, model: Path, tmp_path: Path) -> None:
    for name in ("first", "second"):
        write_page(model_page(model, ["u5"], k=3), tmp_path / f"{name}.html")
    first = (tmp_path / "first.html").read_bytes()
    assert first == (tmp_path / "second.html").read_bytes()
    write_page(model_page(model, ["u6"], k=3), tmp_path / "second.html")
    assert first != (tmp_path / "second.html").read_bytes()
    assert len(list(tmp_path.iterdir())) == 2


def test_refuses(tmp_path: Path) -> None:
    (tmp_path / "folder.html").mkdir()
    for path, message in (
        (tmp_path / "page.htm", r"must end in \.html"),
        (tmp_path / "nowhere" / "page.html", "must lie in a folder that exists"),
        (tmp_path / "folder.html", "must be a file; it is a folder"),
    ):
        with pytest.raises(InputError, match=message):
            require_html(path)
    require_html(tmp_path / "page.html")
