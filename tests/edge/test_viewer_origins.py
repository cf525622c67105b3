"""A viewer elsewhere reads answers if its origin is named, and no other page does (Fetch, CORS)."""

import http.server
import subprocess
import threading

import pytest

from teleprefetch.edge.http.origins import WebOrigins
from teleprefetch.errors import InvalidPayloadError
from tests.browser import skip_without_chromium
from tests.edge.doors import bearer, token
from tests.edge.fakes_for_node import pointer
from tests.edge.served import ALL, FRAME, SERIES, Client, hold
from tests.edge.test_node_settings import settings

VIEWER, OTHER = "https://viewer.example", "https://viewer.example.evil"
ALLOWS = "Access-Control-Allow-Origin"
ASKS = {"Access-Control-Request-Method": "GET", "Access-Control-Request-Headers": "authorization"}


@pytest.fixture
def get(serve_store, store):
    hold(store, pointer(), 3)
    server = serve_store(origins=WebOrigins([VIEWER, "https://second.example"]))
    client = Client(server.port)
    yield client
    client.close()


@pytest.mark.parametrize("path", [FRAME, f"{SERIES}/metadata", "/dicom-web/studies", "/nowhere"])
def test_a_preflight_of_a_viewer_that_is_named_is_allowed(get, path):
    answer = get(path, method="OPTIONS", Origin=VIEWER, **ASKS)

    assert answer.status == 204
    assert answer.headers[ALLOWS] == VIEWER
    allowed = {one.strip() for one in answer.headers["Access-Control-Allow-Headers"].split(",")}
    assert {"Authorization", "Accept", "Range", "X-Break-Glass"} <= allowed
    assert answer.headers["Access-Control-Allow-Methods"] == "GET, HEAD"
    assert int(answer.headers["Access-Control-Max-Age"]) > 600


@pytest.mark.parametrize("method", ["GET", "OPTIONS"])
@pytest.mark.parametrize(
    "origin", [OTHER, "http://viewer.example", f"{VIEWER}:8443", VIEWER.upper(), "null", "*", ""]
)
def test_any_other_origin_is_told_nothing(get, method, origin):
    answer = get(FRAME, method=method, Origin=origin, Accept=ALL, **ASKS)

    assert [name for name in answer.headers if name.startswith("Access-Control")] == []
    assert answer.headers.get_all("Vary")[-1] == "Origin"


def test_no_answer_allows_cookies_or_every_origin(get):
    for method in ("GET", "OPTIONS", "HEAD"):
        answer = get(FRAME, method=method, Origin=VIEWER, Accept=ALL, **ASKS)
        assert "Access-Control-Allow-Credentials" not in answer.headers
        assert answer.headers[ALLOWS] != "*"


def test_each_answer_of_one_connection_is_for_the_origin_that_asked(get):
    """The browser shares a connection, and the second of two equal requests is from memory."""
    for origin in (VIEWER, VIEWER, OTHER, OTHER, "https://second.example", VIEWER):
        answer = get(FRAME, Origin=origin, Accept=ALL)

        assert answer.status == 200
        assert answer.headers.get(ALLOWS) == (None if origin == OTHER else origin)


def test_a_refusal_can_be_read_by_the_viewer_too(serve_store, store, door, board):
    hold(store, pointer(), 3)
    server = serve_store(doorway=door.doorway, board=board, origins=WebOrigins([VIEWER]))
    client = Client(server.port)

    refused = client(FRAME, Origin=VIEWER, Accept=ALL)
    given = client(FRAME, Origin=VIEWER, Accept=ALL, **bearer(token()))

    assert (refused.status, given.status) == (401, 200)
    assert refused.headers[ALLOWS] == given.headers[ALLOWS] == VIEWER
    assert "WWW-Authenticate" in refused.headers["Access-Control-Expose-Headers"]
    client.close()


def test_without_the_setting_nothing_is_said_of_origins(serve_store, store):
    hold(store, pointer(), 3)
    client = Client(serve_store().port)

    answer = client(FRAME, Origin=VIEWER, Accept=ALL)

    assert answer.status == 200
    assert ALLOWS not in answer.headers
    client.close()


def test_origins_are_taken_as_browsers_write_them(tmp_path):
    given = settings(tmp_path, VIEWER_ORIGINS=f'["{VIEWER}", "http://127.0.0.1:8080"]')

    assert given.viewer_origins == (VIEWER, "http://127.0.0.1:8080")


@pytest.mark.parametrize(
    "wrong",
    ["*", "null", f"{VIEWER}/app", f"{VIEWER}:443", "https://Viewer.example", "viewer.example"],
)
def test_what_no_browser_would_send_is_refused(tmp_path, wrong):
    with pytest.raises(InvalidPayloadError, match="viewer_origins"):
        settings(tmp_path, VIEWER_ORIGINS=f'["{wrong}"]')


PAGE = """<!doctype html><title>no</title><script>
const of = (name, url) => fetch(url, {headers: {Authorization: "Bearer x", Accept: %r}})
  .then(answer => answer.arrayBuffer())
  .then(bytes => `${name} ${bytes.byteLength}`, () => `${name} refused`);
Promise.all([of("named", "http://127.0.0.1:%d%s"), of("other", "http://127.0.0.1:%d%s")])
  .then(all => { document.title = all.join(", "); document.body.textContent = document.title });
</script><body></body>"""


def test_a_browser_lets_the_page_read_one_node_and_not_the_other(serve_store, store, tmp_path):
    binary = skip_without_chromium()
    hold(store, pointer(), 3)
    page: list[bytes] = []

    class Page(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.end_headers()
            self.wfile.write(page[0])

        def log_message(self, format, *args):  # noqa: A002 - the base class' name
            pass

    viewer = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Page)
    thread = threading.Thread(target=viewer.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    url = f"http://127.0.0.1:{viewer.server_port}"
    named, other = serve_store(origins=WebOrigins([url])).port, serve_store().port
    page.append((PAGE % (ALL, named, FRAME, other, FRAME)).encode())
    try:
        shown = subprocess.run(
            [
                binary, "--headless", "--no-sandbox", "--disable-gpu",
                f"--user-data-dir={tmp_path}/chromium", "--timeout=20000",
                "--virtual-time-budget=10000", "--dump-dom", url,
            ],
            capture_output=True, text=True, check=True, timeout=60,
        ).stdout  # fmt: skip
    finally:
        viewer.shutdown()
        thread.join()
        viewer.server_close()

    client = Client(named)
    size = len(client(FRAME, Accept=ALL).content)
    client.close()
    assert f"<title>named {size}, other refused</title>" in shown
