"""An archive for `tests.benchmarks.warming`: nginx with plain files, which a node takes for one.

As a HealthImaging data store the node asks for each frame by a signed POST; nginx answers it with
one of the files that curl fetches by GET. As a DICOMweb archive it answers the very same files.
Every frame has the same bytes, so that its CRC-32 is right whichever file the answer comes from;
they lie in as many files as there are frames, so that nginx reads as much as it would from an
archive.
"""

import contextlib
import gzip
import json
import os
import shutil
import subprocess
import time
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np

DATASTORE = "d" * 32
STUDY = "1.2.826.0.1.3680043.10.1338.7"
SERIES = f"{STUDY}.1"
PORT = 18_431
RELATED = 'multipart/related; type="application/octet-stream"; boundary=b'
UNCOMPRESSED = "1.2.840.10008.1.2.1"
HTJ2K = "1.2.840.10008.1.2.4.202"

NGINX = """
user root; worker_processes 2; pid {folder}/nginx.pid; error_log {folder}/error.log crit;
daemon off;
events {{ worker_connections 1024; }}
http {{
  access_log off; server_tokens off; sendfile on; tcp_nopush on; tcp_nodelay on;
  keepalive_requests 10000000; keepalive_timeout 120s; open_file_cache max=10000 inactive=120s;
  client_body_temp_path {folder}/t1; proxy_temp_path {folder}/t2; fastcgi_temp_path {folder}/t3;
  uwsgi_temp_path {folder}/t4; scgi_temp_path {folder}/t5;
  server {{
    listen {address}:{port} reuseport; root {folder};
    location /frames/ {{ default_type '{frame_type}'; }}
    location ~ /getImageFrame$ {{ error_page 404 405 =200 /one/$request_id; }}
    location ~ ^/one/(?<digits>{digits}) {{
      internal; default_type '{frame_type}'; try_files /frames/{zeros}$digits =404;
    }}
    location ~ /getImageSetMetadata$ {{ error_page 404 405 =200 /documents/image_set.json.gz; }}
    location /documents/ {{ internal; default_type application/json; }}
    location ~ ^/dicom-web/.*/frames/1$ {{ rewrite /instances/([0-9.]+)/ /instance/$1 last; }}
    location ~ ^/instance/{series}\\.(?<sop>[0-9]+)$ {{
      internal; default_type '{frame_type}'; try_files /frames/$sop =404;
    }}
    location ~ /series/[0-9.]+/metadata$ {{
      gzip on; gzip_types application/dicom+json;
      default_type application/dicom+json; try_files /documents/series.json =404;
    }}
  }}
}}
"""


@dataclass(frozen=True, slots=True)
class Archive:
    """What there is to fetch: `frames` frames of `content_bytes`, in equal `image_sets`."""

    folder: Path
    kind: str
    frames: int
    content_bytes: int
    body_bytes: int
    address: str
    image_sets: int

    @property
    def url(self) -> str:
        """Where nginx listens."""
        return f"http://{self.address}:{PORT}"

    @property
    def total_bytes(self) -> int:
        """What comes over the wire in bodies."""
        return self.frames * self.body_bytes

    def curl_config(self, target: Path) -> str:
        """Curl's own list of what to fetch and where to put it."""
        return "".join(
            f'url = "{self.url}/frames/{name}"\noutput = "{target}/{name}"\n'
            for name in map(_name, range(self.frames))
        )


def _name(number: int) -> str:
    return f"{number:04x}"


def a_frame(size_bytes: int) -> tuple[bytes, str, int]:
    """A frame of about that size, its transfer syntax and the CRC-32 of its pixels."""
    if size_bytes > 1_000_000:
        content = np.random.default_rng(1).bytes(size_bytes // 2 * 2)
        return content, UNCOMPRESSED, zlib.crc32(content)
    side = max(32, int((size_bytes / 199_279) ** 0.5 * 512))
    down, across = np.mgrid[:side, :side]
    noise = np.random.default_rng(0).normal(0, 10, (side, side))
    pixels = 1000 + 300 * np.sin(across / 40) + 200 * np.cos(down / 30) + noise
    pixels = pixels.astype(np.uint16)
    return imagecodecs.htj2k_encode(pixels), HTJ2K, zlib.crc32(pixels.tobytes())


@contextlib.contextmanager
def serving(
    folder: Path,
    *,
    kind: str,
    frames: int,
    size_bytes: int,
    address: str = "127.0.0.1",
    within: str | None = None,
    image_sets: int = 1,
    files: int | None = None,
) -> Iterator[Archive]:
    """The archive, listening; `kind` is `healthimaging` or `dicomweb`.

    There is a file for each frame, which curl needs, or as many as `files` says.
    """
    shutil.rmtree(folder, ignore_errors=True)
    (folder / "frames").mkdir(parents=True)
    (folder / "documents").mkdir()
    content, syntax, crc32 = a_frame(size_bytes)
    body = content if kind == "healthimaging" else _in_multipart(content, syntax)
    for number in range(max(files or frames, 16)):  # nginx takes one of 16, or 256, for the node
        name = _name(number) if kind == "healthimaging" else f"{number + 1}"
        (folder / "frames" / name).write_bytes(body)
        if kind == "dicomweb":
            (folder / "frames" / _name(number)).hardlink_to(folder / "frames" / name)
    _write_documents(folder / "documents", frames // image_sets, len(content), crc32)
    native = "image/jph" if syntax == HTJ2K else "application/octet-stream"
    two = frames >= 256
    (folder / "nginx.conf").write_text(
        NGINX.format(
            folder=folder,
            address=address,
            port=PORT,
            frame_type=native if kind == "healthimaging" else RELATED,
            digits=".." if two else ".",
            zeros="00" if two else "000",
            series=SERIES.replace(".", "\\."),
        )
    )
    subprocess.run(["sync", "-f", str(folder)], check=True)
    with _nginx(folder, within):
        yield Archive(folder, kind, frames, len(content), len(body), address, image_sets)


@contextlib.contextmanager
def _nginx(folder: Path, within: str | None) -> Iterator[None]:
    prefix = ["ip", "netns", "exec", within] if within else []
    program = shutil.which("nginx", path=f"{os.environ.get('PATH', '')}:/usr/sbin") or "nginx"
    command = [*prefix, program, "-c", str(folder / "nginx.conf"), "-p", str(folder)]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    try:
        ends_s = time.monotonic() + 10
        while not (folder / "nginx.pid").exists() or not (folder / "nginx.pid").read_text():
            if process.poll() is not None or time.monotonic() > ends_s:
                raise RuntimeError("nginx did not start")
            time.sleep(0.02)
        yield
    finally:
        process.terminate()
        process.wait()


def _in_multipart(content: bytes, syntax: str) -> bytes:
    head = f"--b\r\nContent-Type: application/octet-stream; transfer-syntax={syntax}\r\n\r\n"
    return head.encode() + content + b"\r\n--b--\r\n"


def _write_documents(folder: Path, frames: int, size_bytes: int, crc32: int) -> None:
    numbers = range(1, frames + 1)
    instances = {
        f"{SERIES}.{number}": {
            "DICOM": {"InstanceNumber": str(number), "Rows": 512},
            "ChecksumType": "DECOMPRESSED",
            "ImageFrames": [
                {
                    "ID": f"{number:032x}",
                    "FrameSizeInBytes": size_bytes,
                    "PixelDataChecksumFromBaseToFullResolution": [{"Checksum": crc32}],
                }
            ],
        }
        for number in numbers
    }
    document = {
        "Patient": {"DICOM": {"PatientID": "P1"}},
        "Study": {
            "DICOM": {"StudyInstanceUID": STUDY},
            "Series": {SERIES: {"Instances": instances}},
        },
    }
    packed = gzip.compress(json.dumps(document).encode())
    (folder / "image_set.json.gz").write_bytes(packed)
    (folder / "series.json").write_text(json.dumps([_instance(number) for number in numbers]))


def _instance(number: int) -> dict[str, Any]:
    return {
        "00080018": {"vr": "UI", "Value": [f"{SERIES}.{number}"]},
        "00080060": {"vr": "CS", "Value": ["CT"]},
        "00100020": {"vr": "LO", "Value": ["P1"]},
        "0020000D": {"vr": "UI", "Value": [STUDY]},
        "0020000E": {"vr": "UI", "Value": [SERIES]},
        "00200011": {"vr": "IS", "Value": [1]},
        "00200013": {"vr": "IS", "Value": [number]},
        "00280010": {"vr": "US", "Value": [512]},
        "00280011": {"vr": "US", "Value": [512]},
    }
