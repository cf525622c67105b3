"""The node's addresses and transfer syntaxes, asked of the node's own code."""

import json
import re
import tomllib
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any, Final

from pydicom.uid import AllTransferSyntaxes

from teleprefetch.edge.dicomweb import media
from teleprefetch.edge.dicomweb.capabilities import capabilities
from teleprefetch.edge.dicomweb.images import Shape, decode
from teleprefetch.edge.dicomweb.messages import Response
from teleprefetch.edge.dicomweb.places import Place, Route, place_among, routes_of
from teleprefetch.edge.dicomweb.urls import ROOT
from teleprefetch.edge.store.attributes import INSTANCE_TAGS, SERIES_TAGS, STUDY_TAGS
from teleprefetch.errors import CorruptPayloadError, InvalidPayloadError
from tests.pages.blocks import code, codes, table

SHOWN_BY: Final[Mapping[str, str]] = tomllib.loads(
    (Path(__file__).parent / "shown_by.toml").read_text()
)
_ANY: Final = {"study": "1.2", "series": "1.2.1", "instance": "1.2.1.1", "frames": "1"}
_SHAPE: Final = Shape(
    rows=1, columns=1, samples=1, bits_allocated=8, bits_stored=8,
    is_signed=False, is_planar=False, photometric="MONOCHROME2",
)  # fmt: skip


class _AnyName(dict[str, Any]):
    def __missing__(self, name: str) -> Any:
        return lambda *_: Response(200)


@cache
def routes() -> tuple[Route, ...]:
    """The node's route table, in its own order."""
    return tuple(routes_of(_AnyName()))


@cache
def told() -> tuple[tuple[str, str, tuple[str, ...], Place], ...]:
    """What the node says that it can do: path, transaction, media types, and the place."""
    (content,) = capabilities("application/json", "https://node").body
    document = json.loads(content) if isinstance(content, bytes) else {}
    found = []
    for resource in document["application"]["resources"]["resource"]:
        (method,) = resource["methods"]
        place = place_among(routes(), f"{ROOT}/{resource['path'].format_map(_ANY)}")
        assert place is not None, resource["path"]
        found.append((resource["path"], method["id"], tuple(method["response"]), place))
    return tuple(found)


def offered() -> str:
    """The DICOMweb resources, by what the node's capabilities say of them."""
    rows = []
    for path, transaction, kinds, place in told():
        name = "" if place.route is None else place.route.name
        rows.append((transaction, code(f"/{path}"), codes(kinds), code(SHOWN_BY[name])))
    return table(("transaction", "resource, below the root", "media types", "shown by"), rows)


def beside() -> str:
    """The node's other addresses, and who may ask there."""
    known = {place.route for *_, place in told()}
    rows = [
        (
            code(re.sub(r"\(\?P<(\w+)>.*?\)", r"{\1}", route.pattern.pattern)),
            "role operator" if route.action == "status" else "anybody",
            code(SHOWN_BY[route.name]),
        )
        for route in routes()
        if route not in known
    ]
    return table(("address", "who may ask", "shown by"), rows)


def search_attributes() -> str:
    """The attributes of each level's results, which are its keys as well."""
    rows = [
        ("studies", codes([*STUDY_TAGS.values(), "ModalitiesInStudy"])),
        ("series", codes(SERIES_TAGS.values())),
        ("instances", codes(INSTANCE_TAGS.values())),
    ]
    return table(("of", "attributes"), rows)


def transfer_syntaxes() -> str:
    """Every transfer syntax with a media type of its own here, or that is rendered."""
    rows = []
    for syntax in AllTransferSyntaxes:
        own = media.representation("image/*", [syntax], may_be_single=True)
        rendered = _is_rendered(syntax)
        if own is None and not rendered:
            continue
        kinds = ["application/octet-stream", *([own.media_type] if own else [])]
        rows.append((code(syntax), syntax.name, codes(kinds), "yes" if rendered else "no"))
    return table(("transfer syntax", "name", "frames are sent as", "rendered"), rows)


def _is_rendered(syntax: str) -> bool:
    """Whether frames are decoded: an empty one is damaged, or else of no use to the decoder."""
    try:
        decode(b"", syntax, _SHAPE)
    except CorruptPayloadError:
        return True
    except InvalidPayloadError:
        return False
    return True
