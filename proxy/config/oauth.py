"""What a source says of its account: where tokens are got, for whom, and what is spent for them.

1. What names the account is what an operator gave: it stays as tokens are refreshed, and is another one with another
   login. Of a token file that is known once it was read, which `read_logins` does.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, PrivateAttr, ValidationInfo, field_validator

from proxy.config import words
from proxy.config.addresses import token_url
from proxy.config.fault import Finding, Wrong
from proxy.config.fields import Secret
from proxy.config.part import Part
from proxy.providers import tokens


class OAuth(Part):
    """An account whose access token goes with every request, in place of a key."""

    token_url: Annotated[str, AfterValidator(token_url)]
    """Where tokens are got."""
    client_id: Annotated[str, AfterValidator(words.plain)]
    client_secret: Secret | None = None
    """Sent as HTTP Basic; a public client has none."""
    grant: Annotated[Literal["refresh_token", "client_credentials"], BeforeValidator(words.grant)] = "refresh_token"
    """What is spent for a token."""
    refresh_token: Secret | None = None
    """Given by reference: what it is exchanged for is not written back."""
    token_file: str | None = None
    """Holds the tokens, and gets the new ones; a relative path starts at the configuration's directory."""
    scope: Annotated[str, AfterValidator(words.plain)] | None = None
    audience: Annotated[str, AfterValidator(words.plain)] | None = None
    resource: Annotated[str, AfterValidator(words.plain)] | None = None
    """What the token is for (RFC 8707)."""
    encoding: Annotated[Literal["form", "json"], BeforeValidator(words.encoding)] = "form"
    """Of what is sent to `token_url`."""

    _file_login: str = PrivateAttr(default="")
    _file_account: str = PrivateAttr(default="")

    @field_validator("token_file", mode="after")
    @classmethod
    def _token_file(cls, value: str | None, info: ValidationInfo) -> str | None:
        said, directory = info.data, info.context
        if {"grant", "refresh_token"} <= said.keys():
            _one_of(said, value)
        return value if value is None or directory is None else str(Path(directory) / value)

    @property
    def login(self) -> str:
        """Names what the operator gave; does not give it away."""
        if self.grant == "client_credentials":
            secret = self.client_secret.get_secret_value() if self.client_secret else ""
            wanted = (self.scope or "", self.audience or "", self.resource or "")
            return tokens.login(self.grant, self.token_url, self.client_id, secret, *wanted)
        given = tokens.login(self.refresh_token.get_secret_value()) if self.refresh_token else self._file_login
        return tokens.login(self.grant, self.token_url, self.client_id, given)

    @property
    def file_login(self) -> str:
        """The login within the token file; empty where there is none, or before it was read."""
        return self._file_login

    @property
    def file_account(self) -> str:
        """Whose the token file says that its tokens are; empty where it says nothing."""
        return self._file_account

    def read_login(self) -> str | None:
        """Look whose tokens the file holds. Reads it; what is wrong with it, if anything is."""
        if self.token_file is None:
            return None
        try:
            raw = Path(self.token_file).read_bytes()
            _, self._file_login = tokens.from_file(raw)
            self._file_account = tokens.whose(raw)
        except OSError as error:
            return f"cannot be read: {error.strerror}"
        except ValueError as error:
            return f"not a token file: {error}"
        return None


def read_logins(accounts: Mapping[str, OAuth]) -> Iterator[Finding]:
    """Token files that cannot be used, by their sources' names. Reads them."""
    for name, each in accounts.items():
        if (problem := each.read_login()) is not None:
            remedy = 'write it as JSON: {"access_token": …, "refresh_token": …, "expires_at": …}'
            yield Finding(("sources", name, "oauth", "token_file"), problem, remedy)


def _one_of(said: Mapping[str, Any], file: str | None) -> None:
    given = said["refresh_token"] is not None
    if said["grant"] == "client_credentials":
        if given or file is not None:
            raise Wrong("client_credentials spends no refresh token", "leave `refresh_token` and `token_file` out")
        if said.get("client_secret", "") is None:
            raise Wrong("client_credentials needs a client_secret", "add it")
    elif given and file is not None:
        raise Wrong("a `refresh_token` beside a `token_file`", "keep one of them")
    elif not given and file is None:
        raise Wrong("there is no token to begin with", "add `token_file` or `refresh_token`")
