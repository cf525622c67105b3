"""A small DICOMweb archive on loopback, for tests: QIDO-RS and WADO-RS over a corpus."""

import gzip
import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any
from urllib.parse import parse_qs, urlsplit

from pydicom import Dataset

from tests.archive_files import ArchiveFile, Corpus

_STUDY = (
    "StudyInstanceUID", "StudyDate", "StudyTime", "AccessionNumber", "StudyDescription",
    "PatientName", "PatientID", "IssuerOfPatientID", "PatientBirthDate", "PatientSex",
)  # fmt: skip
_SERIES = ("SeriesInstanceUID", "Modality", "SeriesDescription", "SeriesNumber",
           "BodyPartExamined", "Laterality")  # fmt: skip
_SERIES_PATH = re.compile(r"/studies/([0-9.]+)/series")
_METADATA_PATH = re.compile(r"/studies/([0-9.]+)/series/([0-9.]+)/metadata")
_FRAME_PATH = re.compile(r"/studies/([0-9.]+)/series/([0-9.]+)/instances/([0-9.]+)/frames/(\d+)")

Answer = tuple[int, str, bytes]


@dataclass
class DicomwebServer:
    """How the archive behaves.

    `bearer` is the only token that it answers; without one it answers everybody.
    `matches_loosely` answers with every study, whatever is asked; `rows_at_a_time` is the most it
    gives in one answer, with a warning if there are more.
    """

    corpus: Corpus
    bearer: str = ""
    matches_loosely: bool = False
    rows_at_a_time: int = 1000
    url: str = ""
    requests: list[str] = field(default_factory=list)

    def answer(self, path: str, query: dict[str, list[str]]) -> Answer:
        if path == "/studies":
            return self._rows(self._studies(query), query)
        if match := _SERIES_PATH.fullmatch(path):
            return self._rows(self._series(match[1]), query)
        if match := _METADATA_PATH.fullmatch(path):
            return self._metadata(*match.groups())
        if match := _FRAME_PATH.fullmatch(path):
            return self._frame(*match.groups())
        return 404, "text/plain", b"no such resource"

    def _studies(self, query: dict[str, list[str]]) -> list[dict[str, Any]]:
        asked = {key: query[key][0] for key in ("PatientID", "StudyInstanceUID") if key in query}
        files = self.corpus.where(**({} if self.matches_loosely else asked))
        studies = {str(file.dataset.StudyInstanceUID): file for file in files}
        return [self._study(uid, file) for uid, file in studies.items()]

    def _study(self, uid: str, file: ArchiveFile) -> dict[str, Any]:
        modalities = {
            str(one.dataset.Modality) for one in self.corpus.where(StudyInstanceUID=uid)
            if one.dataset.get("Modality")
        }  # fmt: skip
        return _attributes(file, _STUDY) | {"00080061": {"vr": "CS", "Value": sorted(modalities)}}

    def _series(self, study_uid: str) -> list[dict[str, Any]]:
        rows: dict[str, dict[str, Any]] = {}
        for file in self.corpus.where(StudyInstanceUID=study_uid):
            row = rows.setdefault(file.dataset.SeriesInstanceUID, _attributes(file, _SERIES))
            count = row.setdefault("00201209", {"vr": "IS", "Value": [0]})
            count["Value"][0] += 1
        return list(rows.values())

    def _rows(self, rows: list[dict[str, Any]], query: dict[str, list[str]]) -> Answer:
        offset = int(query["offset"][0])
        limit = min(self.rows_at_a_time, int(query["limit"][0]))
        page = rows[offset : offset + limit]
        kind = "application/dicom+json"
        if offset + limit < len(rows) and limit == self.rows_at_a_time:
            kind += "\r\nWarning: 299 archive: the number of results exceeded the maximum"
        return (200, kind, json.dumps(page).encode()) if page else (204, kind, b"")

    def _metadata(self, study_uid: str, series_uid: str) -> Answer:
        files = list(self.corpus.where(StudyInstanceUID=study_uid, SeriesInstanceUID=series_uid))
        if not files:
            return 404, "text/plain", b"no such series"
        objects = [_all_but_pixels(file) for file in files]
        return 200, "application/dicom+json", json.dumps(objects).encode()

    def _frame(self, study_uid: str, series_uid: str, sop_uid: str, number: str) -> Answer:
        found = self.corpus.where(
            StudyInstanceUID=study_uid, SeriesInstanceUID=series_uid, SOPInstanceUID=sop_uid
        )
        for file in found:
            if 1 <= int(number) <= int(file.dataset.get("NumberOfFrames") or 1):
                part = "application/octet-stream; transfer-syntax=" + file.transfer_syntax_uid
                head = f"--frame\r\nContent-Type: {part}\r\n\r\n".encode()
                body = head + file.frame(int(number)) + b"\r\n--frame--"
                return (
                    200,
                    'multipart/related; type="application/octet-stream"; boundary=frame',
                    body,
                )
        return 404, "text/plain", b"no such frame"


@contextmanager
def run_dicomweb_server(corpus: Corpus, **behaviour: Any) -> Iterator[DicomwebServer]:
    """The archive, running until the block ends."""
    archive = DicomwebServer(corpus, **behaviour)
    server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(archive))
    server.daemon_threads = True
    archive.url = f"http://127.0.0.1:{server.server_port}/dicom-web"
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield archive
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def _handler(archive: DicomwebServer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            archive.requests.append(self.path)
            parts = urlsplit(self.path.removeprefix("/dicom-web"))
            if archive.bearer and self.headers["Authorization"] != f"Bearer {archive.bearer}":
                status, kind, body = 401, "text/plain", b"who asks?"
            else:
                status, kind, body = archive.answer(parts.path, parse_qs(parts.query))
            if "gzip" in self.headers.get("Accept-Encoding", "") and body:
                kind, body = f"{kind}\r\nContent-Encoding: gzip", gzip.compress(body)
            head = f"HTTP/1.1 {status} -\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}"
            # In one write: in two, the second would wait for the client's delayed acknowledgement.
            self.wfile.write(f"{head}\r\n\r\n".encode() + body)

        def log_message(self, *_: object) -> None:
            """Nothing: a test's output is not the place for it."""

    return Handler


def _attributes(file: ArchiveFile, keywords: tuple[str, ...]) -> dict[str, Any]:
    row = Dataset()
    for keyword in keywords:
        if keyword in file.dataset:
            row.add(file.dataset[keyword])
    attributes: dict[str, Any] = row.to_json_dict()
    return attributes


def _all_but_pixels(file: ArchiveFile) -> dict[str, Any]:
    whole: dict[str, Any] = file.dataset.to_json_dict(
        bulk_data_threshold=1024, bulk_data_element_handler=lambda _: "http://archive/bulk"
    )
    whole.pop("7FE00010", None)
    return whole
