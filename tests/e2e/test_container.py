"""The node's image by its Containerfile, run as compose.yaml runs it: what it holds, how it serves.

Everything around it is the local stack's. About a minute; skipped where there is no podman.
"""

import json
import os
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest
import urllib3

from teleprefetch.domain.multipart import ContentType, decode
from teleprefetch.edge.audit.reading import entries
from teleprefetch.local.login.people import READER
from teleprefetch.local.node_process import free_port
from teleprefetch.local.reading import assign, notice_of
from teleprefetch.local.stack import NODE, LocalStack, StackOptions
from tests.archive_files import ArchiveFile, real_corpus
from tests.container import IMAGE, Engine, as_on_site, build, make_bases, skip_without_podman
from tests.dicomweb_server import run_dicomweb_server
from tests.waiting import until

USER = 10001
CONTAINER = "node-on-site"
PATIENT = "98890234"


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    """podman with the image built; all that it made is gone afterwards."""
    skip_without_podman()
    engine = Engine(tmp_path_factory.mktemp("podman"))
    try:
        make_bases(engine)
        assert "level=warning" not in build(engine)
        yield engine
    finally:
        engine.clear()


@dataclass(frozen=True)
class Site:
    """A node in a container, which has warmed the study of `file` from the archive of a stack."""

    engine: Engine
    file: ArchiveFile
    stack: LocalStack
    folder: Path
    url: str

    def execute(self, *command: str, codes: tuple[int, ...] = (0,)) -> str:
        return self.engine("exec", CONTAINER, *command, codes=codes)

    def get(self, path: str, **headers: str) -> urllib3.BaseHTTPResponse:
        with urllib3.PoolManager(ca_certs=str(self.folder / "tls/node.pem")) as client:
            return client.request("GET", self.url + path, headers=headers, retries=False)


@pytest.fixture(scope="module")
def site(engine: Engine, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    folder = tmp_path_factory.mktemp("site")
    mounts = _volumes(folder)
    corpus = real_corpus(tmp_path_factory.mktemp("corpus"))
    file = next(one for one in corpus.where(PatientID=PATIENT) if one.has_pixels)
    with ExitStack() as opened:
        archive = opened.enter_context(run_dicomweb_server(corpus))
        stack = opened.enter_context(
            LocalStack(StackOptions(dicomweb_url=archive.url, with_node=False))
        )
        port = free_port()
        variables = folder / "node.env"
        variables.write_text("".join(f"{k}={v}\n" for k, v in _settings(stack).items()))
        options = as_on_site(mounts=mounts)
        options += [f"--env-file={variables}", f"--env=PORT={port}", "--env=HOST=127.0.0.1"]
        engine("run", "--detach", f"--name={CONTAINER}", "--network=host", *options, IMAGE)
        site = Site(engine, file, stack, folder, f"https://127.0.0.1:{port}")
        until(lambda: _is_healthy(site), "a node that its health check passes")
        assign(
            str(file.dataset.StudyInstanceUID),
            assignment_id="on-site",
            origin_id="archive",
            assigned_to=stack.provider.reads,
        )
        assert notice_of("on-site").reason == "warm"
        yield site


def _volumes(folder: Path) -> dict[str, Path]:
    """The folders that deploying.md has made on the host, and a certificate in the last."""
    mounts = {f"/{name}": folder / name for name in ("store", "audit", "tls")}
    for path in mounts.values():
        path.mkdir(mode=0o700)
        os.chown(path, USER, USER)
    request = ["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=node"]
    request += ["-days", "2", "-addext", "subjectAltName=IP:127.0.0.1"]
    key, certificate = (str(mounts["/tls"] / name) for name in ("node.key", "node.pem"))
    command = ["openssl", *request, "-keyout", key, "-out", certificate]
    subprocess.run(command, check=True, capture_output=True)
    for file in (key, certificate):
        os.chown(file, USER, USER)
    return mounts


def _settings(stack: LocalStack) -> dict[str, str]:
    return (
        stack.environment
        | stack.provider.node_variables()
        | {
            "NODE": NODE,
            "QUEUE_URL": stack.aws.outputs["NodeQueueUrl"],
            "TABLE_NAME": stack.aws.outputs["TableName"],
            "ORIGINS": json.dumps(stack.origins),
            "STORE_BYTES": str(1_000_000_000),
            "HEARTBEAT_S": "2",
            "VISIBILITY_S": "6",
        }
    )


def _is_healthy(site: Site) -> bool:
    said = site.engine("healthcheck", "run", CONTAINER, codes=(0, 1, 125))
    state = site.engine.inspect(CONTAINER)["State"]
    assert state["Running"], site.engine("logs", CONTAINER) + said
    return bool(state["Health"]["Status"] == "healthy")


def test_the_image_is_a_nodes_and_says_how_it_lives(engine: Engine) -> None:
    image = engine.inspect(IMAGE)

    assert image["User"] == f"{USER}:{USER}"
    assert image["Healthcheck"]["Test"] == ["CMD", "python", "-m", "teleprefetch.edge.health"]
    assert image["Config"]["Entrypoint"] == ["python", "-m", "teleprefetch.edge"]
    assert not image["Config"].get("Cmd")
    assert image["Config"]["Volumes"].keys() == {"/store", "/audit"}


def test_the_image_holds_no_tools_no_leavings_and_no_source(engine: Engine) -> None:
    with engine.mounted(IMAGE) as root:
        programs = {path.name for path in root.glob("**/bin/*")}
        added = {path.name for path in (root / "opt/teleprefetch").rglob("*")}
        mine = {str(path.relative_to(root)) for path in root.rglob("*") if _is_the_nodes(path)}
        account = next(
            line for line in (root / "etc/passwd").read_text().splitlines() if "node" in line
        )

        assert programs >= {"python", "teleprefetch", "sh"}
        assert programs.isdisjoint({"gcc", "cc", "c++", "make", "uv", "ld"})
        assert added.isdisjoint({"pip", "hatchling", "pytest", "moto", "botocore-stubs"})
        assert not (root / "src").exists()
        assert list((root / "root").glob(".cache")) == list((root / "tmp").iterdir()) == []
        assert mine == {"store", "audit"}
        assert account == f"node:x:{USER}:{USER}::/nonexistent:/usr/sbin/nologin"


def _is_the_nodes(path: Path) -> bool:
    found = path.lstat()
    return USER in (found.st_uid, found.st_gid)


def test_a_frame_that_was_warmed_is_read_from_the_container_over_tls(site: Site) -> None:
    header = site.file.dataset
    path = (
        f"/dicom-web/studies/{header.StudyInstanceUID}/series/{header.SeriesInstanceUID}"
        f"/instances/{header.SOPInstanceUID}/frames/1"
    )

    answer = site.get(
        path,
        Accept='multipart/related; type="application/octet-stream"; transfer-syntax=*',
        Authorization=f"Bearer {site.stack.token_for(READER)}",
    )

    assert answer.status == 200
    kind = ContentType.parse(answer.headers["Content-Type"])
    [part] = decode(kind, answer.data, max_parts=1, max_part_bytes=len(answer.data))
    assert part.content == site.file.frame(1)
    assert site.get(path).status == 401


def test_the_node_runs_without_root_and_without_any_capability(site: Site) -> None:
    status = site.execute("cat", "/proc/self/status")

    said = dict(line.split(":\t", 1) for line in status.splitlines() if ":\t" in line)
    assert said["Uid"].split() == said["Gid"].split() == [str(USER)] * 4
    assert {said[name] for name in ("CapPrm", "CapEff", "CapBnd")} == {"0" * 16}
    assert said["NoNewPrivs"].strip() == "1"


def test_nothing_can_be_written_but_volumes_and_tmp_and_nothing_else_was(site: Site) -> None:
    for place in ("/", "/opt/teleprefetch", "/var/tmp", "/run", "/tls"):
        assert "Read-only" in site.execute("touch", f"{place}/new", codes=(1,))
    for place in ("/store", "/audit", "/tmp"):
        site.execute("touch", f"{place}/new")
        site.execute("rm", f"{place}/new")

    changed = set(site.engine("diff", CONTAINER).split("\n")) - {""}
    assert changed <= {"C /etc", "A /tls"}  # podman's own, to mount what it gives
    assert list((site.folder / "store").iterdir())
    assert {path.stat().st_uid for path in site.folder.rglob("*/*")} == {USER}


def test_asked_to_stop_the_container_ends_with_0_and_its_audit_is_whole(site: Site) -> None:
    site.engine("stop", CONTAINER)

    state = site.engine.inspect(CONTAINER)["State"]
    assert (state["ExitCode"], state["OOMKilled"]) == (0, False)
    log = site.engine("logs", CONTAINER)
    assert "the node has stopped" in log
    assert "Traceback" not in log
    assert any(one.event.kind == "warmed" for one in entries(site.folder / "audit"))
