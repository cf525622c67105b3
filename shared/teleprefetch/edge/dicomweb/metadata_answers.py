"""Answers with metadata (PS3.18 10.4, /metadata): as the archive sent them, and still packed."""

import gzip
import hashlib
from functools import partial
from typing import Final

from teleprefetch.edge.dicomweb import media
from teleprefetch.edge.dicomweb.links_in_json import needs_links, with_links
from teleprefetch.edge.dicomweb.messages import Basis, Request, Response, refusal
from teleprefetch.edge.dicomweb.sources import Source
from teleprefetch.edge.dicomweb.urls import root_of
from teleprefetch.edge.store.attributes import Attributes, dump_instances, read_instances, text_of
from teleprefetch.edge.store.rows import unpack
from teleprefetch.errors import StudyNotFoundError

_PACKED_FROM_BYTES: Final = 1024
_PACK_LEVEL: Final = 1
_CACHING: Final = ("Cache-Control", "private, no-cache")
_VARIES: Final = ("Vary", "Accept, Accept-Encoding, Authorization, Host")
Parts = dict[str, str]


class MetadataAnswers:
    """Retrieves the metadata of a study, a series or an instance.

    Args:
        trusts_proxy: see `root_of`.
    """

    def __init__(self, *, trusts_proxy: bool) -> None:
        self._trusts_proxy = trusts_proxy
        self._root_of = partial(root_of, trusts_proxy=trusts_proxy)

    def series(self, request: Request, parts: Parts, source: Source) -> Response:
        """Retrieve a series' metadata."""
        return self._answer(request, parts, source)

    def study(self, request: Request, parts: Parts, source: Source) -> Response:
        """Retrieve the metadata of all series that are held of a study."""
        return self._answer(request, parts, source)

    def instance(self, request: Request, parts: Parts, source: Source) -> Response:
        """Retrieve an instance's metadata."""
        if not media.accepts_json(request.accept):
            return _NOT_ACCEPTABLE
        instance = instance_of(source, parts["study"], parts["series"], parts["sop"])
        content = self._linked(request, dump_instances([instance]), parts["study"], parts["series"])
        return _packed_answer(request, content, f'"{_digest(content)}"', None)

    def _answer(self, request: Request, parts: Parts, source: Source) -> Response:
        if not media.accepts_json(request.accept):
            return _NOT_ACCEPTABLE
        study = parts["study"]
        found, basis = source.metadata(study, parts.get("series"))
        tag = _digest(b"".join(hashlib.sha256(packed).digest() for _, packed in found))
        plain = [(series, unpack(packed)) for series, packed in found]
        if any(needs_links(one) for _, one in plain):
            tag = _digest(f"{tag} {self._root_of(request)}".encode())
            basis = None if self._trusts_proxy else basis
        elif len(found) == 1 and request.takes_gzip:
            return Response(200, _headers(f'"{tag}-gzip"', is_packed=True), (found[0][1],), basis)
        linked = [self._linked(request, one, study, series) for series, one in plain]
        return _packed_answer(request, _joined(linked), f'"{tag}"', basis)

    def _linked(self, request: Request, plain: bytes, study: str, series: str) -> bytes:
        if not needs_links(plain):
            return plain
        return with_links(plain, f"{self._root_of(request)}/studies/{study}/series/{series}")


_NOT_ACCEPTABLE: Final = refusal(406, "accept: metadata are DICOM JSON")


def instance_of(source: Source, study: str, series: str, sop: str) -> Attributes:
    """An instance's attributes.

    Raises:
        StudyNotFoundError: the series does not have it.
    """
    for _, packed in source.metadata(study, series)[0]:
        for instance in read_instances(unpack(packed)):
            if text_of(instance, "00080018") == sop:
                return instance
    raise StudyNotFoundError("instance: not held here")


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:32]


def _packed_answer(request: Request, content: bytes, etag: str, basis: Basis | None) -> Response:
    if not request.takes_gzip or len(content) < _PACKED_FROM_BYTES:
        return Response(200, _headers(etag, is_packed=False), (content,), basis)
    packed = gzip.compress(content, compresslevel=_PACK_LEVEL, mtime=0)
    return Response(200, _headers(f'{etag[:-1]}-gzip"', is_packed=True), (packed,), basis)


def _headers(etag: str, *, is_packed: bool) -> tuple[tuple[str, str], ...]:
    headers = (("Content-Type", media.DICOM_JSON), ("ETag", etag), _CACHING, _VARIES)
    return (*headers, ("Content-Encoding", "gzip")) if is_packed else headers


def _joined(documents: list[bytes]) -> bytes:
    """One DICOM JSON array of several, without reading them: the brackets are cut off."""
    if len(documents) == 1:
        return documents[0]
    inner = (document.strip()[1:-1].strip() for document in documents)
    return b"[" + b",".join(one for one in inner if one) + b"]"
