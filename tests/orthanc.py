"""The real Orthanc archive, started for tests with a configuration of its own."""

import json
import shutil
import subprocess
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import urllib3

from teleprefetch.local.node_process import free_port

_PLUGIN = Path("/usr/share/orthanc/plugins/libOrthancDicomWeb.so")
HOW_TO_GET_IT = "needs the Orthanc archive: apt-get install orthanc orthanc-dicomweb"
_READY_WITHIN_S = 30.0


def skip_without_orthanc() -> str:
    """The path of the Orthanc binary; without it, the test is skipped and says how to get it."""
    binary = shutil.which("Orthanc") or shutil.which("Orthanc", path="/usr/sbin:/usr/local/sbin")
    if binary is None or not _PLUGIN.exists():
        pytest.skip(HOW_TO_GET_IT)
    return binary


@contextmanager
def run_orthanc(directory: Path) -> Iterator[str]:
    """An empty archive that keeps its files in `directory`; yields its DICOMweb address."""
    binary = skip_without_orthanc()
    port = free_port()
    configuration = directory / "orthanc.json"
    configuration.write_text(json.dumps(_configuration(directory, port)))
    log = directory / "orthanc.log"
    with log.open("wb") as output:
        process = subprocess.Popen([binary, str(configuration)], stdout=output, stderr=output)
        try:
            _wait_until_ready(process, f"http://127.0.0.1:{port}/system", log)
            yield f"http://127.0.0.1:{port}/dicom-web"
        finally:
            process.kill()
            process.wait()


def store(url: str, paths: Iterable[Path]) -> None:
    """Send files to an archive by STOW-RS (PS3.18 10.5), all in one request."""
    boundary = "teleprefetch-store"
    head = f"--{boundary}\r\nContent-Type: application/dicom\r\n\r\n".encode()
    body = b"".join(head + path.read_bytes() + b"\r\n" for path in paths)
    kind = f'multipart/related; type="application/dicom"; boundary={boundary}'
    headers = {"Content-Type": kind, "Accept": "application/dicom+json"}
    with urllib3.PoolManager() as http:
        answer = http.request(
            "POST", f"{url}/studies", body=body + f"--{boundary}--".encode(), headers=headers
        )
    assert answer.status == 200, answer.data
    assert not answer.json().get("00081198", {}).get("Value"), "FailedSOPSequence"


def _configuration(directory: Path, port: int) -> dict[str, object]:
    return {
        "Name": "teleprefetch-tests",
        "StorageDirectory": str(directory / "storage"),
        "IndexDirectory": str(directory / "storage"),
        "HttpPort": port,
        "HttpThreadsCount": 16,
        "KeepAlive": True,
        "DicomServerEnabled": False,
        "RemoteAccessAllowed": False,
        "AuthenticationEnabled": False,
        "OverwriteInstances": True,
        "Plugins": [str(_PLUGIN)],
        "DicomWeb": {"Enable": True, "Root": "/dicom-web/", "SeriesMetadata": "Full"},
    }


def _wait_until_ready(process: "subprocess.Popen[bytes]", url: str, log: Path) -> None:
    give_up_at = time.monotonic() + _READY_WITHIN_S
    with urllib3.PoolManager(retries=False, timeout=1.0) as http:
        while time.monotonic() < give_up_at:
            assert process.poll() is None, log.read_text()
            try:
                if http.request("GET", url).status == 200:
                    return
            except urllib3.exceptions.HTTPError:
                time.sleep(0.05)
    raise AssertionError(f"Orthanc is not ready: {log.read_text()}")
