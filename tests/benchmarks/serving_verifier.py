"""The verifier that nginx asks by `auth_request`: as little as an HTTP server in Python can be."""

import asyncio
import hashlib
import socket
import sys
from typing import cast

import uvloop

_KNOWN = set[bytes]()


class Verifier(asyncio.Protocol):
    """204 for the token, 401 for anything else."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.WriteTransport", transport)
        self.buffer = b""

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        while b"\r\n\r\n" in self.buffer:
            head, _, self.buffer = self.buffer.partition(b"\r\n\r\n")
            lines = (line.partition(b":") for line in head.split(b"\r\n")[1:])
            value = next(
                (v.strip() for name, _, v in lines if name.lower() == b"authorization"), b""
            )
            known = hashlib.sha256(value.removeprefix(b"Bearer ")).digest() in _KNOWN
            self.transport.write(
                b"HTTP/1.1 %s\r\nContent-Length: 0\r\n\r\n" % (b"200 OK" if known else b"401 No")
            )


async def serve(port: int) -> None:
    listening = socket.socket()
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    listening.bind(("127.0.0.1", port))
    server = await asyncio.get_running_loop().create_server(Verifier, sock=listening, backlog=512)
    await server.serve_forever()


if __name__ == "__main__":
    _KNOWN.add(hashlib.sha256(sys.argv[2].encode()).digest())
    uvloop.run(serve(int(sys.argv[1])))
