"""What a reader without a node talks to: one origin with the viewer, and Orthanc behind it.

python -m tests.benchmarks.archive_front ADDRESS PORT VIEWER FOLDER

FOLDER's DICOM files are stored in the archive first.
"""

import shutil
import signal
import sys
import tempfile
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import urllib3

from teleprefetch.edge.dicomweb.messages import Request
from teleprefetch.edge.pages.viewer import ViewerConfig, ViewerFiles
from tests.orthanc import run_orthanc, store

_STORED_AT_ONCE = 40
_PASSED_ON = ("Accept", "Accept-Encoding", "Host")
_NOT_OURS = {"connection", "keep-alive", "transfer-encoding", "content-length"}


class Front(ThreadingHTTPServer):
    """The viewer's files as a node serves them, and everything below /dicom-web passed through."""

    daemon_threads = True
    request_queue_size = 64

    def __init__(self, address: tuple[str, int], viewer: Path, archive: str) -> None:
        self.files = ViewerFiles(viewer, config=ViewerConfig())
        self.archive = archive
        self.pool = urllib3.PoolManager(maxsize=32, retries=1)
        super().__init__(address, _Handler)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: Front

    def log_message(self, *_: object) -> None:
        pass

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        headers = {name.lower(): value for name, value in self.headers.items()}
        answer = self.server.files.answer(Request("GET", path, (), headers, "127.0.0.1"))
        if answer is None:
            self._pass_on()
            return
        self.send_response(answer.status)
        for name, value in (*answer.headers, ("Content-Length", str(answer.content_length))):
            self.send_header(name, value)
        self.end_headers()
        for part in answer.body:
            if isinstance(part, bytes):
                self.wfile.write(part)
            else:
                with part.path.open("rb") as file:
                    shutil.copyfileobj(file, self.wfile)

    def _pass_on(self) -> None:
        asked = {name: self.headers[name] for name in _PASSED_ON if name in self.headers}
        answer = self.server.pool.request(
            "GET", self.server.archive + self.path, headers=asked, decode_content=False
        )
        self.send_response(answer.status)
        for name, value in answer.headers.items():
            if name.lower() not in _NOT_OURS:
                self.send_header(name, value)
        self.send_header("Content-Length", str(len(answer.data)))
        self.end_headers()
        self.wfile.write(answer.data)


def main() -> None:
    address, port, viewer, folder = sys.argv[1:]
    files = sorted(Path(folder).rglob("*.dcm"))
    with tempfile.TemporaryDirectory() as own, run_orthanc(Path(own)) as archive:
        for begin in range(0, len(files), _STORED_AT_ONCE):
            store(archive, files[begin : begin + _STORED_AT_ONCE])
        server = Front((address, int(port)), Path(viewer), archive.removesuffix("/dicom-web"))
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
        print("up", flush=True)
        server.serve_forever()


if __name__ == "__main__":
    main()
