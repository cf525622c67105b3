"""Which OpenID provider a stack's node believes, and what its viewer asks there."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

from teleprefetch.local.login.authorizing import AUDIENCE, OFFLINE, READ
from teleprefetch.local.login.oauth import Client
from teleprefetch.local.login.people import OPERATORS, READERS, SITE
from teleprefetch.model import AssignedTo
from teleprefetch.settings import ViewerLogin

VIEWER_CLIENT: Final = "ohif"


@dataclass(frozen=True, slots=True, kw_only=True)
class Provider:
    """Who logs the stack's readers in.

    `audience` is what the provider's access tokens are for, `scopes` what the viewer asks,
    `origins` where it asks besides the issuer's own. `reads` is who is assigned the studies.
    `needs` are scopes that a token must have.
    """

    issuer: str
    client_id: str = VIEWER_CLIENT
    audience: str = AUDIENCE
    scopes: tuple[str, ...] = ("openid", "profile", OFFLINE, READ)
    needs: tuple[str, ...] = (READ,)
    origins: tuple[str, ...] = ()
    reader: str | None = None

    def asking(self, scopes: Sequence[str]) -> "Provider":
        """The provider, of which the viewer asks for other scopes."""
        return replace(self, scopes=tuple(scopes))

    @property
    def reads(self) -> AssignedTo:
        """To whom studies are assigned: the reader that was named, or else the readers' group."""
        if self.reader is not None:
            return AssignedTo(issuer=self.issuer, subject=self.reader)
        return AssignedTo(issuer=self.issuer, groups=(READERS,))

    def token_issuers(self) -> str:
        """The node's TOKEN_ISSUERS."""
        rules = {"issuer": self.issuer, "audiences": [self.audience], "scopes": list(self.needs)}
        return json.dumps([rules])

    def viewer_login(self) -> ViewerLogin:
        """What the viewer asks."""
        return ViewerLogin(
            authority=self.issuer,
            client_id=self.client_id,
            scope=" ".join(self.scopes),
            origins=self.origins,
        )

    def node_variables(self) -> dict[str, str]:
        """The node's settings about who reads, and how its viewer logs them in."""
        roles = {self.issuer: {READERS: "reader", OPERATORS: "operator"}}
        return {
            "TOKEN_ISSUERS": self.token_issuers(),
            "ROLE_GROUPS": json.dumps(roles),
            "READING_LOCATIONS": json.dumps([SITE]),
            "VIEWER_LOGIN": self.viewer_login().model_dump_json(),
        }

    def viewer_client(self, node_url: str) -> Client:
        """The viewer that a node serves, as the provider's client."""
        login = self.viewer_login()
        return Client(
            client_id=login.client_id,
            redirect_uris=frozenset({node_url + login.redirect_path}),
            after_logout_uris=frozenset({node_url + login.after_logout_path}),
        )
