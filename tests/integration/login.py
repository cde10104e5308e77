"""Somebody's login at the OAuth server: the token file that replicas of one machine share, and what befalls it.

1. What is in the file is what the server has issued, but for how old it is said to be: no test waits for an hour.
2. The file is replaced whole, as replicas read it at any moment.
"""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import orjson

from proxy.providers.tokens import Token
from proxy.upstream.oauth.token_file import Busy, TokenFile
from tests.integration.oauth_server import PUBLIC, Issued, OAuthServer

_USED = 3600.0
"""Seconds that an old token has been used for."""


class Login:
    """One account's."""

    def __init__(self, server: OAuthServer, path: Path) -> None:
        """Somebody has logged in."""
        self.server, self._path = server, path
        self.anew()

    @property
    def source(self) -> dict[str, str]:
        """What a source says of it."""
        return {"token_url": self.server.token_url, "client_id": PUBLIC, "token_file": str(self._path)}

    def anew(self) -> None:
        """An operator logs in and puts the tokens into the file: another login, which nobody knows yet."""
        pair = self.server.log_in()
        fresh = self._path.with_suffix(".new")
        fresh.touch(0o600)
        document = {"access_token": pair.access, "refresh_token": pair.refresh, "expires_at": pair.until}
        fresh.write_bytes(orjson.dumps(document))
        fresh.replace(self._path)

    @property
    def ends(self) -> float:
        """When the access token does, a Unix time."""
        return self.server.issued[-1].until

    async def age(self, left: float) -> None:
        """The file has the same login's next tokens, as if one of those that share it had got them long ago.

        It is time to refresh them, and `left` seconds until they end.
        """
        pair, began = self.server.log_in(lives=left), time.time() - _USED
        while True:
            try:
                self._keep(pair, began)
                return
            except Busy:
                await asyncio.sleep(0.01)

    def _keep(self, pair: Issued, obtained: float) -> None:
        file = TokenFile(self._path)
        with file.locked():
            former, login = file.read()
            token = Token(pair.access, pair.refresh, pair.until, obtained, former.version + 1)
            file.write(token, login)
