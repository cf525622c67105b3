"""A store with frames in it, and clients of the server over it."""

import http.client
import json
import re
import socket
import time

from teleprefetch.dicom import HTJ2K_LOSSLESS
from teleprefetch.model import Frame
from tests.edge.fakes_for_node import ORIGIN, content, entry, metadata

ALL = "multipart/related; type=application/octet-stream; transfer-syntax=*"
SERIES = "/dicom-web/studies/1.2.1/series/1.2.1.1"
FRAME = f"{SERIES}/instances/1.2.1.1.2/frames/1"


def hold(store, series, count, *, syntax=HTJ2K_LOSSLESS, patient_id="P1", bytes_of=content):
    store.put_metadata(ORIGIN, metadata(series, count, patient_id=patient_id))
    with store.writing(ORIGIN, series) as writer:
        for number in range(1, count + 1):
            frame = Frame(content=bytes_of(number), transfer_syntax_uid=syntax)
            writer.append(entry(series, number), frame)


class Client:
    """Asks over one connection that is kept."""

    def __init__(self, port, *, tls=None):
        kind = http.client.HTTPConnection if tls is None else http.client.HTTPSConnection
        options = {} if tls is None else {"context": tls}
        self.connection = kind("127.0.0.1", port, timeout=10, **options)

    def __call__(self, path, *, method="GET", **headers):
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        self.connection.request(method, path, headers=named)
        answer = self.connection.getresponse()
        answer.content = answer.read()
        return answer

    def json(self, path):
        answer = self(path)
        assert answer.status == 200, answer.content
        return json.loads(answer.content)

    def close(self):
        self.connection.close()


class Raw:
    """A socket that says what it is told to."""

    def __init__(self, port, *, receive_bytes=None):
        self.socket = socket.socket()
        if receive_bytes:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_bytes)
        self.socket.settimeout(10)
        self.socket.connect(("127.0.0.1", port))

    def say(self, text):
        self.socket.sendall(text if isinstance(text, bytes) else text.encode())
        return self

    def hear_all(self, *, within_s=10.0):
        """Everything until the other side closes."""
        self.socket.settimeout(within_s)
        heard = b""
        while True:
            try:
                piece = self.socket.recv(1 << 16)
            except ConnectionResetError:
                return heard
            if not piece:
                return heard
            heard += piece

    def hear(self, count):
        """So many bytes."""
        heard = b""
        while len(heard) < count:
            piece = self.socket.recv(min(count - len(heard), 1 << 20))
            assert piece, "the server closed"
            heard += piece
        return heard

    def hear_answer(self):
        """One answer with a Content-Length: its status and body."""
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            piece = self.socket.recv(1)
            assert piece, f"the server closed after {head!r}"
            head += piece
        found = re.search(rb"Content-Length: ([0-9]+)", head)
        length = int(found[1]) if found else 0
        return int(head.split(b" ")[1]), self.hear(length)

    def is_closed(self, *, within_s=5.0):
        self.socket.settimeout(within_s)
        try:
            while self.socket.recv(1 << 16):
                pass
        except ConnectionResetError:
            return True
        except TimeoutError:
            return False
        return True

    def close(self):
        self.socket.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


def took_s(work):
    began = time.monotonic()
    work()
    return time.monotonic() - began
