"""The page's files: few bytes, nothing from elsewhere, vendored code as it was published, and a policy that fits."""

from __future__ import annotations

import base64
import gzip
import hashlib
import re
from pathlib import Path
from typing import Any

import orjson
import pytest

import proxy.admin.page.serving

_ASSETS = Path(proxy.admin.page.__file__).parent / "assets"
_VENDOR = _ASSETS / "vendor"
_OWN = sorted([*_ASSETS.glob("js/**/*.js"), *_ASSETS.glob("*.css"), _ASSETS / "index.html"])
_SERVED = sorted([*_OWN, *_VENDOR.glob("*.mjs")])
_BUDGET = 120_000
"""Bytes of all that is served, each file compressed."""
_MOST_LINES = 400


def _vendored() -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = orjson.loads((_VENDOR / "VENDORED.json").read_bytes())["files"]
    return found


def test_every_vendored_file_is_the_published_one() -> None:
    """Each has its package, version, licence and digest in the list; nothing lies there that is not listed."""
    listed = {each["file"]: each for each in _vendored()}
    assert {each.name for each in _VENDOR.glob("*.mjs")} == set(listed)
    for name, each in listed.items():
        assert hashlib.sha256((_VENDOR / name).read_bytes()).hexdigest() == each["sha256"], name
        assert re.fullmatch(r"\d+\.\d+\.\d+", each["version"])
        assert each["licence"] in ("MIT", "Apache-2.0")
        assert "Copyright" in (_VENDOR / each["licence_file"]).read_text()
    licences = {each["licence_file"] for each in listed.values()}
    assert {each.name for each in _VENDOR.iterdir()} == {*listed, *licences, "VENDORED.json"}


def test_the_page_is_small() -> None:
    """All that a browser loads, compressed, is within the budget; our own files are short enough to be read."""
    sizes = {each.name: len(gzip.compress(each.read_bytes(), 9)) for each in _SERVED}
    assert sum(sizes.values()) <= _BUDGET, sizes
    lengths = {each.name: len(each.read_text().splitlines()) for each in _OWN}
    assert {name: lines for name, lines in lengths.items() if lines > _MOST_LINES} == {}


@pytest.mark.parametrize("path", _OWN, ids=lambda path: str(path.relative_to(_ASSETS)))
def test_nothing_comes_from_elsewhere_and_nothing_is_written_as_html(path: Path) -> None:
    """No other host is named, and what is shown is escaped by the library that shows it."""
    text = path.read_text()
    assert not re.search(r"(?:https?:)?//[a-z0-9-]+\.[a-z]", text.replace("http://www.w3.org/2000/svg", ""))
    forbidden = (
        r"innerHTML|outerHTML|insertAdjacentHTML|dangerouslySet|document\.write|\beval\(|new Function|javascript:"
    )
    assert not re.search(forbidden, text)


def test_every_import_leads_to_a_file() -> None:
    """Bare names stand in the import map, and the others are files; every file is used."""
    index = (_ASSETS / "index.html").read_text()
    (inline,) = re.findall(r'<script type="importmap">(.*?)</script>', index, re.DOTALL)
    named: dict[str, str] = orjson.loads(inline)["imports"]
    used = {_ASSETS / each for each in re.findall(r'(?:src|href)="assets/([^"]+)"', index)} | {_ASSETS / "index.html"}
    for path in [each for each in _SERVED if each.suffix in (".js", ".mjs")]:
        for target in re.findall(r"""(?:\bfrom\s*|\bimport\s*)["']([^"'$]+)["']""", path.read_text()):
            found = _ASSETS.parent / named[target] if target in named else (path.parent / target).resolve()
            assert found.is_file(), f"{path.name} imports {target}"
            used.add(found.resolve())
    assert {each.resolve() for each in used} == {each.resolve() for each in _SERVED}


def test_the_policy_allows_the_one_inline_script() -> None:
    """Its digest is that of what stands in the page."""
    index = (_ASSETS / "index.html").read_text()
    (inline,) = re.findall(r"<script[^>]*>([^<]+)</script>", index)
    digest = base64.b64encode(hashlib.sha256(inline.encode()).digest()).decode()
    policy = proxy.admin.page.serving.Page()._files[""].headers["Content-Security-Policy"]
    assert f"script-src 'self' 'sha256-{digest}';" in policy


def test_the_pictures_in_the_documents_are_small() -> None:
    """A reader on a slow line sees them too."""
    pictures = sorted((Path(proxy.__file__).parents[1] / "docs").glob("*.png"))
    assert [each.name for each in pictures] == ["page-assistant.png", "page-overview.png"]
    assert max(each.stat().st_size for each in pictures) <= 200_000
