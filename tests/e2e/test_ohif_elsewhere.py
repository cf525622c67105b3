"""OHIF on another origin than the node, with the files, headers and configuration of CloudFront."""

import http.server
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from samtranslator.yaml_helper import yaml_parse

from teleprefetch.edge.pages.viewer import content_policy
from teleprefetch.edge.pages.viewer_login import login_origins
from teleprefetch.local import demo_input
from teleprefetch.local.aws import TEMPLATE
from teleprefetch.local.reading import give, viewer_link
from teleprefetch.local.stack import LocalStack, StackOptions
from teleprefetch.operate.viewer_site import ViewerSite, scripts_of
from teleprefetch.operate.viewer_upload import Upload, uploads_of
from tests.ohif import look, reader, skip_without_viewer


class Distribution(http.server.ThreadingHTTPServer):
    """What the viewer's bucket, paths and headers come to."""

    uploads: dict[str, Upload]
    policy: str


class _Answers(http.server.BaseHTTPRequestHandler):
    server: Distribution
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        name = self.path.partition("?")[0].lstrip("/")
        if "." not in name.rpartition("/")[2]:
            name = "index.html"
        found = self.server.uploads.get(name)
        body = b"" if found is None else _bytes_of(found)
        self.send_response(403 if found is None else 200)
        self.send_header("Content-Length", str(len(body)))
        if found is not None:
            self.send_header("Content-Type", found.media_type)
            self.send_header("Cache-Control", found.caching)
        self.send_header("Content-Security-Policy", self.server.policy)
        for one in _further_headers():
            self.send_header(one["Header"], one["Value"])
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class' name
        pass


def _bytes_of(upload: Upload) -> bytes:
    content = upload.content
    return content if isinstance(content, bytes) else content.read_bytes()


def _further_headers() -> Any:
    headers = yaml_parse(TEMPLATE.read_text())["Resources"]["ViewerHeaders"]["Properties"]
    return headers["ResponseHeadersPolicyConfig"]["CustomHeadersConfig"]["Items"]


@contextmanager
def distribution() -> Iterator[Distribution]:
    server = Distribution(("127.0.0.1", 0), _Answers)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture(scope="module")
def folder() -> Path:
    return skip_without_viewer()


def test_the_reader_reads_beside_a_prior_by_a_viewer_that_another_origin_serves(
    folder: Path, tmp_path: Path
) -> None:
    samples = demo_input.made_up(tmp_path / "all", today=datetime.now(UTC).date(), scale=0.1)
    with distribution() as served:
        url = f"http://127.0.0.1:{served.server_port}"
        node = {"VIEWER_ORIGINS": f'["{url}"]'}
        with LocalStack(StackOptions(node_variables=node)) as stack:
            provider = stack.provider
            stack.register(provider.viewer_client(url))
            login = provider.viewer_login()
            reaches = login_origins(login)
            site = ViewerSite(url, "none", stack.node.url, login, (), reaches)
            served.uploads = {one.key: one for one in uploads_of(folder, site)}
            served.policy = content_policy(scripts_of(folder), (stack.node.url, *reaches))
            notice = give(samples, reader=provider.reads)
            link = viewer_link(url, notice)

            with reader(link, tmp_path / "shown.png", issuer=provider.issuer) as page:
                left, right, *_ = look(page, viewports=2)
                exchanges = list(page.seen.exchanges.values())

                assert left.image.partition("/dicom-web/")[0].endswith(stack.node.url)
                assert left.is_a_picture
                assert right.is_a_picture
                assert page.seen.complaints == []
                from_node = [one for one in exchanges if one.url.startswith(stack.node.url)]
                assert from_node
                assert {one.status for one in from_node if one.method == "GET"} <= {0, 200, 304}
