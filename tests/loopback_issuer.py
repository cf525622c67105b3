"""An issuer of tokens on loopback: one RSA key, served as issuers serve theirs."""

import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from tests.token_making import AUDIENCE, key_set, make, rsa_jwk

SUBJECT = "reader-1"


class Issuer:
    """Serves its keys until it is closed."""

    def __init__(self) -> None:
        document = key_set(rsa_jwk("rsa-1"))

        class Keys(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.send_response(200)
                self.send_header("Content-Length", str(len(document)))
                self.end_headers()
                self.wfile.write(document)

            def log_message(self, *_words: object) -> None:
                """Say nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Keys)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))
        self._thread.start()
        self.issuer = f"http://127.0.0.1:{self._server.server_port}"

    @property
    def settings(self) -> dict[str, str]:
        """The settings of a node that trusts it."""
        rules = {
            "issuer": self.issuer,
            "audiences": [AUDIENCE],
            "jwks_uri": f"{self.issuer}/keys",
        }
        roles = {"readers": "reader", "operators": "operator"}
        return {
            "TOKEN_ISSUERS": json.dumps([rules]),
            "ROLE_GROUPS": json.dumps({self.issuer: roles}),
            "READING_LOCATIONS": '["home"]',
        }

    def token(self, *groups: str, **claims: Any) -> str:
        """A token of SUBJECT that is good for an hour."""
        named = {"iss": self.issuer, "sub": SUBJECT, "exp": {"now": 3600}, "groups": [*groups]}
        return make({"claims": named | claims}, now_s=int(time.time()))

    def close(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()
