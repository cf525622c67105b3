"""The viewer's files on the node's own origin: what is served, as what, and what never is."""

import base64
import gzip
import hashlib
import json
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from teleprefetch.edge.dicomweb.messages import FileSlice, Request, Response
from teleprefetch.edge.pages.viewer import ViewerConfig, ViewerFiles
from teleprefetch.errors import InvalidPayloadError
from teleprefetch.settings import ViewerLogin

PAGE = b"<!doctype html><script>console.time('a')</script><div id=root></div>"
BUNDLE = "app.bundle.0f6159c501addfe9.js"
WASM = "34b1e6b1deb5828e.wasm"
SECRET = b"not the viewer's"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    built = tmp_path / "dist"
    (built / "assets").mkdir(parents=True)
    (built / "index.html").write_bytes(PAGE)
    (built / BUNDLE).write_bytes(b"let a = 1;" * 200)
    (built / f"{BUNDLE}.gz").write_bytes(gzip.compress(b"let a = 1;" * 200))
    (built / f"{BUNDLE}.map").write_text("{}")
    (built / WASM).write_bytes(b"\0asm")
    (built / "assets" / "favicon.ico").write_bytes(b"icon")
    (built / "a b.css").write_text("p {}")
    (built / "app-config.js").write_text("window.config = 'the released one'")
    (built / "_headers").write_text("x")
    (built / ".hidden.js").write_text("x")
    (tmp_path / "secret.txt").write_bytes(SECRET)
    (built / "link.js").symlink_to(tmp_path / "secret.txt")
    return built


@pytest.fixture
def viewer(folder: Path) -> ViewerFiles:
    return ViewerFiles(folder, config=ViewerConfig())


def asked(path: str, **headers: str) -> Request:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Request("GET", path, (), {"host": "node", **named}, "127.0.0.1")


def body_of(response: Response | None) -> bytes:
    assert response is not None
    return b"".join(
        part
        if isinstance(part, bytes)
        else part.path.read_bytes()[part.offset : part.offset + part.length_bytes]
        for part in response.body
    )


def header(response: Response | None, name: str) -> str:
    assert response is not None
    return dict(response.headers).get(name, "")


@pytest.mark.parametrize(
    ("path", "media_type"),
    [
        ("/", "text/html; charset=utf-8"),
        (f"/{BUNDLE}", "text/javascript; charset=utf-8"),
        (f"/{WASM}", "application/wasm"),
        ("/assets/favicon.ico", "image/x-icon"),
        ("/a%20b.css", "text/css; charset=utf-8"),
        ("/app-config.js", "text/javascript; charset=utf-8"),
    ],
)
def test_a_file_is_served_as_what_it_is(viewer: ViewerFiles, path: str, media_type: str) -> None:
    response = viewer.answer(asked(path))

    assert response is not None
    assert response.status == 200
    assert header(response, "Content-Type") == media_type
    assert header(response, "X-Content-Type-Options") == "nosniff"
    assert response.content_length == len(body_of(response)) > 0


def test_a_file_is_sent_from_the_disk_and_not_read_first(viewer: ViewerFiles) -> None:
    response = viewer.answer(asked(f"/{BUNDLE}"))

    assert response is not None
    assert all(isinstance(part, FileSlice) for part in response.body)


@pytest.mark.parametrize(
    "path", ["/viewer", "/viewer/", "/viewer/dicomweb", "/local", "/microscopy"]
)
def test_a_place_inside_the_viewer_is_its_page(viewer: ViewerFiles, path: str) -> None:
    assert body_of(viewer.answer(asked(path))) == PAGE


@pytest.mark.parametrize(
    "path",
    [
        "/missing.js",
        f"/{BUNDLE}.map",
        f"/{BUNDLE}.gz",
        "/_headers.js",
        "/.hidden.js",
        "/link.js",
        "/../secret.txt",
        "/%2e%2e/secret.txt",
        "/..%2fsecret.txt",
        "/assets/../../secret.txt",
        "/assets%5c..%5c..%5csecret.txt",
        "//etc/hosts.txt",
        "/secret.txt%00.js",
    ],
)
def test_what_is_no_file_of_the_viewer_is_not_answered(viewer: ViewerFiles, path: str) -> None:
    assert viewer.answer(asked(path)) is None


@given(path=st.text(alphabet="./%2ef\\a\0:secrt_", max_size=40))
def test_no_path_leaves_the_folder(tmp_path_factory: pytest.TempPathFactory, path: str) -> None:
    built = tmp_path_factory.mktemp("viewer") / "dist"
    built.mkdir()
    (built / "index.html").write_bytes(PAGE)
    (built.parent / "secret").write_bytes(SECRET)

    response = ViewerFiles(built, config=ViewerConfig()).answer(asked("/" + path))

    assert response is None or body_of(response) == PAGE


@pytest.mark.parametrize(
    "path",
    ["/dicom-web/studies", "/dicom-web", "/warm", "/status", "/healthz", "/readyz/x", "/metrics"],
)
def test_the_nodes_own_addresses_are_left_to_the_node(viewer: ViewerFiles, path: str) -> None:
    assert viewer.answer(asked(path)) is None


def test_a_name_with_a_digest_is_kept_for_ever_and_the_page_is_asked_for_again(
    viewer: ViewerFiles,
) -> None:
    for path in (f"/{BUNDLE}", f"/{WASM}"):
        assert "immutable" in header(viewer.answer(asked(path)), "Cache-Control")
    for path in ("/", "/app-config.js", "/assets/favicon.ico"):
        assert header(viewer.answer(asked(path)), "Cache-Control") == "no-cache"


@pytest.mark.parametrize("path", ["/", f"/{BUNDLE}", "/app-config.js"])
def test_what_the_browser_holds_is_not_sent_again(viewer: ViewerFiles, path: str) -> None:
    etag = header(viewer.answer(asked(path)), "ETag")

    for given_tags in (etag, f'"other", W/{etag}', "*"):
        again = viewer.answer(asked(path, if_none_match=given_tags))
        assert again is not None
        assert (again.status, again.body) == (304, ())
        assert header(again, "ETag") == etag
    other = viewer.answer(asked(path, if_none_match='"other"'))
    assert other is not None
    assert other.status == 200


def test_a_file_that_was_replaced_has_another_tag_and_its_own_length(
    viewer: ViewerFiles, folder: Path
) -> None:
    before = header(viewer.answer(asked("/")), "ETag")
    (folder / "index.html").write_bytes(PAGE + b"<!-- newer -->")
    os.utime(folder / "index.html", ns=(1, 1))

    response = viewer.answer(asked("/"))

    assert header(response, "ETag") != before
    assert body_of(response).endswith(b"newer -->")


def test_a_file_that_was_taken_away_is_not_answered(viewer: ViewerFiles, folder: Path) -> None:
    (folder / WASM).unlink()

    assert viewer.answer(asked(f"/{WASM}")) is None


def test_gzip_beside_a_file_is_sent_to_who_takes_it(viewer: ViewerFiles) -> None:
    plain = viewer.answer(asked(f"/{BUNDLE}"))
    packed = viewer.answer(asked(f"/{BUNDLE}", accept_encoding="gzip, deflate, br, zstd"))
    refused = viewer.answer(asked(f"/{BUNDLE}", accept_encoding="gzip;q=0, br"))

    assert gzip.decompress(body_of(packed)) == body_of(plain) == body_of(refused)
    assert header(packed, "Content-Encoding") == "gzip"
    assert header(plain, "Content-Encoding") == header(refused, "Content-Encoding") == ""
    assert header(packed, "Vary") == header(plain, "Vary") == "Accept-Encoding"
    assert header(packed, "ETag") != header(plain, "ETag")


def test_the_viewer_is_told_of_studies_on_its_own_origin(viewer: ViewerFiles) -> None:
    script = body_of(viewer.answer(asked("/app-config.js"))).decode()

    config = json.loads(script.removeprefix("window.config = ").rstrip(";\n"))
    [source] = config["dataSources"]
    assert source["sourceName"] == config["defaultDataSourceName"]
    for root in ("qidoRoot", "wadoRoot"):
        assert source["configuration"][root] == "/dicom-web"
    assert source["configuration"]["imageRendering"] == "wadors"
    assert source["configuration"]["omitQuotationForMultipartRequest"] is True


def test_the_policy_names_the_pages_own_scripts_and_no_other_origin(viewer: ViewerFiles) -> None:
    response = viewer.answer(asked("/viewer"))

    policy = dict(
        part.split(" ", 1) for part in header(response, "Content-Security-Policy").split("; ")
    )
    digest = base64.b64encode(hashlib.sha256(b"console.time('a')").digest()).decode()
    assert f"'sha256-{digest}'" in policy["script-src"].split()
    assert "'unsafe-inline'" not in policy["script-src"]
    assert not any("http" in value or "*" in value for value in policy.values())
    assert policy["frame-ancestors"] == "'none'"
    assert header(response, "Cross-Origin-Opener-Policy") == "same-origin"
    assert header(response, "Cross-Origin-Embedder-Policy") == "require-corp"


def test_a_folder_without_a_page_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidPayloadError, match="viewer_path"):
        ViewerFiles(tmp_path, config=ViewerConfig())


LOGIN = ViewerLogin(
    authority="https://login.example/realm",
    client_id="ohif",
    origins=("https://token.example:8443/path", "https://login.example"),
)


def logging_in(folder: Path, login: ViewerLogin = LOGIN) -> ViewerFiles:
    return ViewerFiles(folder, config=ViewerConfig(login=login))


def test_a_viewer_whose_readers_log_in_is_told_where(folder: Path) -> None:
    config = body_of(logging_in(folder).answer(asked("/app-config.js"))).decode()

    [oidc] = json.loads(config.removeprefix("window.config = ").removesuffix(";\n"))["oidc"]
    assert oidc["authority"] == "https://login.example/realm"
    assert (oidc["client_id"], oidc["response_type"]) == ("ohif", "code")
    assert oidc["redirect_uri"] == "/callback"
    assert "resource" not in oidc
    assert "secret" not in config


def test_without_a_login_the_viewer_asks_for_none(viewer: ViewerFiles) -> None:
    assert "oidc" not in body_of(viewer.answer(asked("/app-config.js"))).decode()


def test_the_policy_lets_the_viewer_reach_the_logins_origins_and_no_more(folder: Path) -> None:
    policy = header(logging_in(folder).answer(asked("/")), "Content-Security-Policy")

    [connect] = [part for part in policy.split("; ") if part.startswith("connect-src")]
    assert connect == (
        "connect-src 'self' data: blob: https://login.example https://token.example:8443"
    )
    assert policy.count("https://") == 2


@pytest.mark.parametrize(
    "host", ["login.example;script-src", "login.example,evil", "lögin.example"]
)
def test_a_host_that_would_change_the_policy_is_refused(folder: Path, host: str) -> None:
    login = ViewerLogin(authority=f"https://{host}", client_id="ohif")

    with pytest.raises(InvalidPayloadError, match="viewer_login"):
        logging_in(folder, login)


def test_who_comes_back_from_the_login_gets_the_viewer_and_from_the_logout_a_page(
    folder: Path,
) -> None:
    viewer = logging_in(folder)

    assert body_of(viewer.answer(asked("/callback"))) == PAGE
    assert b"Log in again" in body_of(viewer.answer(asked("/logged-out")))
    assert header(viewer.answer(asked("/logged-out")), "Content-Type").startswith("text/html")


def test_a_viewers_login_may_name_no_page_outside(folder: Path) -> None:
    for path in ("//evil.example", "https://evil.example", "/a/b", "callback", "/index.html"):
        with pytest.raises(ValidationError):
            ViewerLogin(authority="https://login.example", client_id="ohif", redirect_path=path)
