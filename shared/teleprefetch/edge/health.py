"""Asks the node of this container whether it lives: `python -m teleprefetch.edge.health`.

By the node's own HOST, PORT and TLS settings; exit code 0 if it does. Certificates are not
checked: the node is asked on the loopback address, by no name.
"""

import http.client
import os
import ssl
import sys
from typing import Final

_TIMEOUT_S: Final = 4


def main() -> int:
    """0 if the node answers `/healthz` with 200, else 1."""
    port = int(os.environ.get("PORT", "8080"))
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=_TIMEOUT_S)
    if os.environ.get("TLS_CERTIFICATE_PATH"):
        context = ssl.create_default_context()
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        connection = http.client.HTTPSConnection(
            "127.0.0.1", port, timeout=_TIMEOUT_S, context=context
        )
    try:
        connection.request("GET", "/healthz")
        status = connection.getresponse().status
    except OSError as error:
        print(f"no answer: {type(error).__name__}", file=sys.stderr)
        return 1
    finally:
        connection.close()
    return 0 if status == http.HTTPStatus.OK else 1


if __name__ == "__main__":
    sys.exit(main())
