"""What the node's DICOMweb service can do, as WADL or JSON (PS3.18 8.9, Annex H)."""

import json
from typing import Final
from xml.sax.saxutils import quoteattr

from teleprefetch.edge.dicomweb import media
from teleprefetch.edge.dicomweb.messages import Response, refusal

WADL: Final = "application/vnd.sun.wadl+xml"
_JSON: Final = "application/json"
_DICOM_JSON: Final = (media.DICOM_JSON,)
_PIXELS: Final = (
    'multipart/related; type="application/octet-stream"; transfer-syntax=*',
    "application/octet-stream; transfer-syntax=*",
    "image/jphc",
    "image/jp2",
    "image/jls",
    "image/jpeg",
)
_RENDERED: Final = ("image/jpeg", "image/png")
_STUDY: Final = "studies/{study}"
_SERIES: Final = f"{_STUDY}/series/{{series}}"
_INSTANCE: Final = f"{_SERIES}/instances/{{instance}}"
# Resource, transaction (Annex H, Table H-1), media types.
_RESOURCES: Final = (
    ("studies", "SearchForStudies", _DICOM_JSON),
    ("series", "SearchForSeries", _DICOM_JSON),
    (f"{_STUDY}/series", "SearchForStudySeries", _DICOM_JSON),
    (f"{_STUDY}/instances", "SearchForStudyInstances", _DICOM_JSON),
    (f"{_SERIES}/instances", "SearchForStudySeriesInstances", _DICOM_JSON),
    (f"{_STUDY}/metadata", "RetrieveStudyMetadata", _DICOM_JSON),
    (f"{_SERIES}/metadata", "RetrieveSeriesMetadata", _DICOM_JSON),
    (f"{_INSTANCE}/metadata", "RetrieveInstanceMetadata", _DICOM_JSON),
    (_INSTANCE, "RetrieveInstance", ('multipart/related; type="application/dicom"', media.DICOM)),
    (f"{_INSTANCE}/frames/{{frames}}", "RetrieveFrames", _PIXELS),
    (f"{_INSTANCE}/bulkdata/7FE00010", "RetrieveInstanceBulkdata", _PIXELS),
    (f"{_INSTANCE}/rendered", "RetrieveRenderedInstance", _RENDERED),
    (f"{_INSTANCE}/frames/{{frames}}/rendered", "RetrieveRenderedFrames", _RENDERED),
    (f"{_STUDY}/thumbnail", "RetrieveStudyThumbnail", _RENDERED),
    (f"{_SERIES}/thumbnail", "RetrieveSeriesThumbnail", _RENDERED),
    (f"{_INSTANCE}/thumbnail", "RetrieveInstanceThumbnail", _RENDERED),
    (f"{_INSTANCE}/frames/{{frames}}/thumbnail", "RetrieveFrameThumbnail", _RENDERED),
)


def capabilities(accept: str, base: str) -> Response:
    """The description in the form that the client accepts.

    Args:
        accept: the header.
        base: the URL that resources are relative to.
    """
    chosen = media.image_type(accept, (WADL, _JSON))
    if chosen is None:
        return refusal(406, "accept: capabilities are WADL or JSON")
    content = _wadl(base) if chosen == WADL else _json(base)
    headers = (
        ("Content-Type", chosen),
        ("Cache-Control", "no-cache"),
        ("Allow", "GET, HEAD, OPTIONS"),
    )
    return Response(200, headers, (content,))


def _json(base: str) -> bytes:
    resources = [
        {"path": path, "methods": [{"name": "GET", "id": name, "response": [*kinds]}]}
        for path, name, kinds in _RESOURCES
    ]
    return json.dumps(
        {"application": {"resources": {"base": base, "resource": resources}}}
    ).encode()


def _wadl(base: str) -> bytes:
    lines = [
        '<?xml version="1.0" encoding="UTF-8"?>',
        '<application xmlns="http://wadl.dev.java.net/2009/02">',
        f"<resources base={quoteattr(base)}>",
    ]
    for path, name, kinds in _RESOURCES:
        forms = "".join(f"<representation mediaType={quoteattr(kind)}/>" for kind in kinds)
        lines.append(
            f'<resource path={quoteattr(path)}><method name="GET" id="{name}">'
            f'<response status="200">{forms}</response></method></resource>'
        )
    return "\n".join((*lines, "</resources>", "</application>")).encode()
