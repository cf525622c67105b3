"""The node and Orthanc are asked the same about the same studies, answer by answer.

`tests/data/conformance.toml` lists every request, and every difference with its reason; a
difference that is not listed, and a listed one that is none, fail.
"""

import contextlib
import io
import json
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import imagecodecs
import pydicom
import pytest
import urllib3

from teleprefetch.domain.multipart import ContentType, decode
from teleprefetch.local.login.people import READER
from teleprefetch.local.reading import assign, notice_of
from teleprefetch.local.stack import LocalStack, StackOptions
from tests.orthanc import run_orthanc, skip_without_orthanc, store
from tests.reading_room import Kind, ReadingRoom, furnish

dicomweb_client = pytest.importorskip("dicomweb_client", reason="needs dicomweb-client")

_LISTED: Final = tomllib.loads((Path(__file__).parents[1] / "data/conformance.toml").read_text())
_OWN_URLS: Final = ("00081190", "00081195")  # RetrieveURL: each server names itself
_KEYS: Final = ("00080018", "0020000E", "0020000D")
_SAID: Final = ("ETag", "Cache-Control", "Content-Length", "Vary")
_PICTURES: Final = ("image/jpeg", "image/png")
_SEEN_LEVELS: Final = 2.0
_FRAMES_AS_STORED: Final = (("application/octet-stream", "*"),)


@dataclass(frozen=True)
class Sides:
    """Both servers' DICOMweb addresses, what they hold, and whose token the node sees."""

    archive: str
    node: str
    room: ReadingRoom
    token: str

    @property
    def roots(self) -> tuple[tuple[str, dict[str, str]], ...]:
        """Each server's address, and what every request to it carries."""
        return (self.archive, {}), (self.node, {"Authorization": f"Bearer {self.token}"})

    def kind(self, name: str) -> Kind:
        return next(kind for kind in self.room.kinds if kind.name == name)


@pytest.fixture(scope="module")
def sides(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sides]:
    skip_without_orthanc()
    room = furnish(tmp_path_factory.mktemp("reading-room"))
    with contextlib.ExitStack() as opened:
        url = opened.enter_context(run_orthanc(tmp_path_factory.mktemp("orthanc")))
        system = url.replace("/dicom-web", "/system")
        version = urllib3.request("GET", system, retries=False).json()["Version"]
        if not version.startswith("1.10."):
            pytest.skip(f"the list is of Orthanc 1.10, and this is {version}")
        for kind in room.kinds:
            store(url, kind.files)
        stack = opened.enter_context(LocalStack(StackOptions(dicomweb_url=url)))
        for kind in room.kinds:
            assign(
                kind.study_instance_uid,
                assignment_id=kind.name,
                origin_id="archive",
                assigned_to=stack.provider.reads,
            )
            assert notice_of(kind.name).reason == "warm"
        yield Sides(url, f"{stack.node.url}/dicom-web", room, stack.token_for(READER))


@dataclass(frozen=True)
class Answer:
    """What a client makes of a response; a part is its media type, transfer syntax and bytes."""

    status: int
    media_type: str
    coding: str
    said: frozenset[str]
    document: Any
    parts: tuple[tuple[str, str, bytes], ...]


def ask(root: str, path: str, headers: dict[str, str]) -> Answer:
    """One request, as curl would make it."""
    response = urllib3.request("GET", root + path, headers=headers, retries=False, timeout=30)
    kind = ContentType.parse(response.headers.get("Content-Type", ""))
    document, parts = None, []
    if response.status == 200 and kind.media_type == "multipart/related":
        for part in decode(kind, response.data, max_parts=50, max_part_bytes=1 << 26):
            own = part.content_type
            syntax = own.transfer_syntax_uid or kind.transfer_syntax_uid
            parts.append((own.media_type, syntax, part.content))
    elif response.status == 200 and "json" in kind.media_type:
        document = json.loads(response.data)
    elif response.status == 200:
        parts.append((kind.media_type, kind.transfer_syntax_uid, response.data))
    return Answer(
        status=response.status,
        media_type=kind.media_type,
        coding=response.headers.get("Content-Encoding", "none"),
        said=frozenset(name for name in _SAID if name in response.headers),
        document=document,
        parts=tuple(parts),
    )


def differences(there: Answer, here: Answer) -> set[str]:
    """What differs between the archive's answer and the node's, in the words of the list."""
    if there.status != here.status:
        return {f"status {there.status} there, {here.status} here"}
    if there.status != 200:
        return set()
    found = set()
    if there.media_type != here.media_type:
        found.add(f"{there.media_type} there, {here.media_type} here")
    if there.coding != here.coding:
        found.add(f"coding {there.coding} there, {here.coding} here")
    found |= {f"{name} only there" for name in there.said - here.said}
    found |= {f"{name} only here" for name in here.said - there.said}
    if there.document is not None and here.document is not None:
        found |= _of_documents(there.document, here.document)
    return found | _of_parts(there.parts, here.parts)


def _of_documents(there: list[Any], here: list[Any]) -> set[str]:
    ours, theirs = {_key(item): item for item in here}, {_key(item): item for item in there}
    if ours.keys() != theirs.keys():
        return {f"{len(theirs)} results there, {len(ours)} here"}
    found = {"order"} if list(ours) != list(theirs) else set()
    for key, item in theirs.items():
        found |= _of_items(item, ours[key])
    return found


def _of_items(there: dict[str, Any], here: dict[str, Any]) -> set[str]:
    found = {f"{tag} only there" for tag in there.keys() - here.keys()}
    found |= {f"{tag} only here" for tag in here.keys() - there.keys()}
    for tag in there.keys() & here.keys():
        if tag not in _OWN_URLS and _value(there[tag]) != _value(here[tag]):
            found.add(f"{tag} otherwise")
    return found


def _key(item: dict[str, Any]) -> str:
    return "/".join(str(item[tag]["Value"][0]) for tag in _KEYS if tag in item)


def _value(element: dict[str, Any]) -> Any:
    """An element without its servers' addresses; an absent value is an empty one (PS3.18 F.2.5)."""
    cleaned = {name: value for name, value in element.items() if name != "BulkDataURI"}
    if cleaned.get("Value") == []:
        del cleaned["Value"]
    return cleaned


def _of_parts(
    there: tuple[tuple[str, str, bytes], ...], here: tuple[tuple[str, str, bytes], ...]
) -> set[str]:
    if len(there) != len(here):
        return {f"{len(there)} parts there, {len(here)} here"}
    found = set()
    for their, our in zip(there, here, strict=True):
        if their[0] != our[0]:
            found.add(f"part {their[0]} there, {our[0]} here")
        if their[1] != our[1]:
            found.add(f"transfer syntax {their[1] or 'unsaid'} there, {our[1] or 'unsaid'} here")
        if their[0] in _PICTURES and our[0] in _PICTURES:
            found |= _of_pictures(their[2], our[2])
        elif their[2].rstrip(b"\0") != our[2].rstrip(b"\0"):
            found.add("other bytes")
    return found


def _of_pictures(there: bytes, here: bytes) -> set[str]:
    """Two encoders never agree on bytes; what is seen may."""
    theirs, ours = (imagecodecs.imread(content).astype(int) for content in (there, here))
    if theirs.shape != ours.shape:
        return {f"picture {theirs.shape} there, {ours.shape} here"}
    return {"other grey levels"} if abs(theirs - ours).mean() > _SEEN_LEVELS else set()


def placed(path: str, kind: Kind) -> str:
    """A path of the list with the UIDs of a study of that kind in their places."""
    middle = pydicom.dcmread(kind.files[len(kind.files) // 2], stop_before_pixels=True)
    return path.format(
        study=kind.study_instance_uid,
        series=middle.SeriesInstanceUID,
        instance=middle.SOPInstanceUID,
        patient=middle.PatientID,
        date=middle.StudyDate,
        accession=middle.AccessionNumber,
    )


@pytest.mark.parametrize(
    "listed", [pytest.param(one, id=one["name"]) for one in _LISTED["request"]]
)
def test_both_answer_alike_but_for_what_is_listed(sides: Sides, listed: dict[str, Any]) -> None:
    path = placed(listed["path"], sides.kind(listed.get("of", "ct")))
    headers = {"Accept": listed["accept"]} if "accept" in listed else {}
    headers |= {"Accept-Encoding": "gzip, deflate, br, zstd"} if listed.get("browser") else {}

    there, here = (ask(root, path, headers | own) for root, own in sides.roots)

    assert differences(there, here) == _listed_differences(listed)


def _listed_differences(listed: dict[str, Any]) -> set[str]:
    """The request's own differences, and those of the groups that it names."""
    groups = [_LISTED["group"][name] for name in listed.get("groups", ())]
    return {*listed.get("differs", ()), *(what for group in groups for what in group)}


def test_every_difference_is_explained_and_every_explanation_needed() -> None:
    differing = {what for one in _LISTED["request"] for what in _listed_differences(one)}

    assert differing == _LISTED["why"].keys()
    assert all(len(reason) > 20 for reason in _LISTED["why"].values())


@pytest.mark.parametrize(
    "name", ["ct", "prior", "mammogram", "enhanced-ct", "jpeg-ls", "jpeg-2000"]
)
def test_dicomweb_client_gets_the_same_from_both(sides: Sides, name: str) -> None:
    kind = sides.kind(name)
    first = pydicom.dcmread(kind.files[0])
    study, series, instance = (
        str(first.StudyInstanceUID),
        str(first.SeriesInstanceUID),
        str(first.SOPInstanceUID),
    )
    numbers = [1] if "NumberOfFrames" not in first else [1, 5, 9]
    archive, node = (dicomweb_client.DICOMwebClient(url, headers=own) for url, own in sides.roots)

    def searched(client: Any) -> list[list[str]]:
        found = (
            client.search_for_studies(search_filters={"PatientID": first.PatientID}),
            client.search_for_series(study),
            client.search_for_instances(study, series),
        )
        return [sorted(map(_key, results)) for results in found]

    def pixels(client: Any) -> list[bytes]:
        frames = client.retrieve_instance_frames(
            study, series, instance, numbers, media_types=_FRAMES_AS_STORED
        )
        return [frame.rstrip(b"\0") for frame in frames]

    assert searched(node) == searched(archive)
    for ours, theirs in zip(
        _sorted(node.retrieve_series_metadata(study, series)),
        _sorted(archive.retrieve_series_metadata(study, series)),
        strict=True,
    ):
        assert _of_items(theirs, ours) <= set(_LISTED["why"])
    assert pixels(node) == pixels(archive)
    assert len(pixels(node)) == len(numbers)
    [ours], [theirs] = (
        [
            client.retrieve_instance(
                study, series, instance, media_types=(("application/dicom", "*"),)
            )
        ]
        for client in (node, archive)
    )
    assert ours.file_meta.TransferSyntaxUID == theirs.file_meta.TransferSyntaxUID
    assert ours.PixelData.rstrip(b"\0") == theirs.PixelData.rstrip(b"\0")
    assert _without_pixels(ours) == _without_pixels(theirs)


def _sorted(metadata: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return sorted(metadata, key=_key)


def _without_pixels(dataset: pydicom.Dataset) -> dict[str, Any]:
    stored = io.BytesIO()
    dataset.save_as(stored, enforce_file_format=True)
    document = pydicom.dcmread(io.BytesIO(stored.getvalue())).to_json_dict(
        bulk_data_threshold=1 << 40, bulk_data_element_handler=None
    )
    document.pop("7FE00010")
    return document
