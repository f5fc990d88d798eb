"""A model's page as one HTML file that needs nothing beside it."""

import base64
import hashlib
import html
import json
import os
from importlib.resources import files
from pathlib import Path
from string import Template

from tfcausal.errors import InputError
from tfcausal.reports.model_page import ModelPage

_ASSETS = files("tfcausal.reports") / "assets"


def require_html(path: Path) -> None:
    """Raises InputError where a page could not be written, before a model is asked."""
    if path.suffix != ".html":
        raise InputError(f"`--output` must end in .html; got {path}.")
    if not path.parent.is_dir():
        raise InputError(
            f"`{path}` must lie in a folder that exists; `{path.parent}` does not. "
            "Make it first."
        )
    if path.is_dir():
        raise InputError(f"`{path}` must be a file; it is a folder.")


def write_page(page: ModelPage, path: Path) -> None:
    """Writes a page, in place of an earlier one; it appears whole or not at all.

    Args:
        page: What it shows.
        path: The file.
    """
    partial = path.with_name(f".{path.name}.partial")
    partial.write_text(render(page), encoding="utf-8")
    os.replace(partial, path)


def render(page: ModelPage) -> str:
    """Returns the HTML document of a page: the same bytes for the same page.

    It loads nothing, which its own policy forbids too: only the one style and the one
    script in it, told by their hashes, have an effect.
    """
    style, script = (_asset(name) for name in ("page.css", "page.js"))
    return Template(_asset("page.html")).substitute(
        title=html.escape(f"{page.model}, version {page.version}"),
        style=style,
        style_hash=_hash(style),
        script=script,
        script_hash=_hash(script),
        data=_inside_script(page),
    )


def _asset(name: str) -> str:
    return (_ASSETS / name).read_text(encoding="utf-8")


def _hash(text: str) -> str:
    digest = hashlib.sha256(text.encode()).digest()
    return f"'sha256-{base64.b64encode(digest).decode()}'"


def _inside_script(page: ModelPage) -> str:
    text = json.dumps(page.to_json(), separators=(",", ":"), allow_nan=False)
    # Inside a script nothing is unescaped but by JSON, and `</script>` would end it.
    for character in "<>&":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return text
