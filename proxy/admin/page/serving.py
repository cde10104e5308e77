"""The operators' page: static files of this package, beside the API that they talk to.

1. Only what was there at the start is served, by its exact path: no path is ever made into the name of a file.
2. A browser is told to run these files alone, and to talk to nobody but this listener.
3. The page holds no fact and no secret, so nobody is asked for a token: what it shows, the API has told it.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from importlib.resources.abc import Traversable

from aiohttp import hdrs, web

from proxy.admin.api.calls import Refused

_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".mjs": "text/javascript; charset=utf-8",
}
"""What is served, by its ending; licences and the list of what is vendored are not."""
_INDEX = "index.html"
_INLINE = re.compile(r'<script type="importmap">(.*?)</script>', re.DOTALL)
_POLICY = (
    "default-src 'none'; script-src 'self' 'sha256-{digest}'; style-src 'self'; connect-src 'self'; "
    "img-src 'self' data:; frame-ancestors 'none'; base-uri 'none'; form-action 'self'"
)


@dataclass(frozen=True, slots=True)
class _File:
    body: bytes
    tag: str
    headers: Mapping[str, str]


class Page:
    """All files of the page, in memory."""

    def __init__(self) -> None:
        root = resources.files(__package__).joinpath("assets")
        read = dict(_read(root, ""))
        policy = _POLICY.format(digest=_import_map_digest(read[_INDEX].decode()))
        self._files = {path: _file(path, body, policy) for path, body in read.items()}
        self._files[""] = self._files.pop(_INDEX)

    @property
    def paths(self) -> frozenset[str]:
        """All that is served."""
        return frozenset(f"/{path}" for path in self._files)

    def answer(self, request: web.BaseRequest) -> web.Response | None:
        """The file of this path; None if there is none. Raises Refused for a method that would change it."""
        file = self._files.get(request.rel_url.raw_path.removeprefix("/"))
        if file is None:
            return None
        if request.method not in (hdrs.METH_GET, hdrs.METH_HEAD):
            raise Refused("method_not_allowed", "The page takes GET.", {"Allow": "GET, HEAD"})
        known = request.headers.get(hdrs.IF_NONE_MATCH, "")
        if file.tag in (each.strip().removeprefix("W/") for each in known.split(",")):
            return web.Response(status=304, headers=file.headers)
        return web.Response(body=file.body, headers=file.headers)


def _read(folder: Traversable, above: str) -> list[tuple[str, bytes]]:
    found: list[tuple[str, bytes]] = []
    for each in folder.iterdir():
        path = above + each.name
        if each.is_dir():
            found += _read(each, f"{path}/")
        elif _ending(path) in _TYPES:
            found.append((path if path == _INDEX else f"assets/{path}", each.read_bytes()))
    return found


def _ending(path: str) -> str:
    return path[path.rfind(".") :]


def _import_map_digest(index: str) -> str:
    """What a policy calls the one script that stands in the page itself."""
    (inline,) = _INLINE.findall(index)
    return base64.b64encode(hashlib.sha256(inline.encode()).digest()).decode()


def _file(path: str, body: bytes, policy: str) -> _File:
    # Asked for again each time, and answered with 304: after an upgrade no browser runs half of the page before.
    tag = f'"{hashlib.sha256(body).hexdigest()[:20]}"'
    headers = {
        "Server": "homeport",
        "Content-Type": _TYPES[_ending(path)],
        "Content-Security-Policy": policy,
        "Cache-Control": "no-cache",
        "ETag": tag,
        "X-Content-Type-Options": "nosniff",
        "Referrer-Policy": "no-referrer",
        "Cross-Origin-Opener-Policy": "same-origin",
        "Cross-Origin-Resource-Policy": "same-origin",
    }
    return _File(body, tag, headers)
