"""QIDO-RS: searches for studies, series and instances, in primary image sets only."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

from teleprefetch.local.healthimaging.accept import DICOM_JSON, require_json
from teleprefetch.local.healthimaging.archive import Archive, ImageSet
from teleprefetch.local.healthimaging.ingest import Instance
from teleprefetch.local.healthimaging.qido_query import Query, Row, query_of, texts_of
from teleprefetch.local.healthimaging.segment import Extent, Segment
from teleprefetch.local.healthimaging.wire import Call, Response, json_response

# PS3.18 Tables 10.6.3-3 to 10.6.3-5: what an answer has unless asked for more.
_STUDY_TAGS: Final = frozenset(
    {
        "00080005",
        "00080020",
        "00080030",
        "00080050",
        "00080061",
        "00080090",
        "00080201",
        "00081190",
        "00100010",
        "00100020",
        "00100030",
        "00100040",
        "0020000D",
        "00200010",
        "00201206",
        "00201208",
    }
)
_SERIES_TAGS: Final = frozenset(
    {
        "00080005",
        "00080060",
        "00080201",
        "0008103E",
        "00081190",
        "0020000D",
        "0020000E",
        "00200011",
        "00201209",
        "00400244",
        "00400245",
        "00400275",
    }
)
_INSTANCE_TAGS: Final = frozenset(
    {
        "00080005",
        "00080016",
        "00080018",
        "00080201",
        "00081190",
        "00081196",
        "00083002",
        "0020000D",
        "0020000E",
        "00200013",
        "00280008",
        "00280010",
        "00280011",
        "00280100",
    }
)
# What `includefield=all` adds to studies and series by the developer guide.
_STUDY_ALL: Final = _STUDY_TAGS | {
    "00081030",
    "00081032",
    "00100021",
    "00100032",
    "00321060",
    "00101010",
    "00101020",
    "00101030",
}
_SERIES_ALL: Final = _SERIES_TAGS | {
    "00180015",
    "00181030",
    "00080021",
    "00080031",
    "00080070",
    "00081090",
    "00200060",
}


@dataclass(frozen=True, slots=True)
class Qido:
    """Answers searches that were authorised and let through."""

    archive: Archive
    segment: Segment
    studies_url: str

    def studies(self, call: Call) -> Response:
        """SearchDICOMStudies: the last updated first."""
        query = self._query(call, "study")
        by_study: dict[str, list[ImageSet]] = {}
        for image_set in self.archive.primaries():
            study = image_set.representative.tags["StudyInstanceUID"]
            by_study.setdefault(study, []).append(image_set)
        groups = sorted(by_study.values(), key=_last_update, reverse=True)
        rows = (self._study_row(group) for group in groups)
        return _page([row for row in rows if query.matches(row)], query, _STUDY_TAGS, _STUDY_ALL)

    def series(self, call: Call) -> Response:
        """SearchDICOMSeries and SearchDICOMAllSeries: by SeriesNumber."""
        study = call.path.get("study")
        query = self._query(call, "series" if study else "all-series")
        rows = [self._series_row(image_set) for image_set in self.archive.primaries(study)]
        rows.sort(key=lambda row: _number(row, "00200011"))
        found = [row for row in rows if query.matches(row)]
        return _page(found, query, _SERIES_TAGS, _SERIES_ALL)

    def instances(self, call: Call) -> Response:
        """The three searches for instances: by InstanceNumber, or the last updated first."""
        study, series = call.path.get("study"), call.path.get("series")
        query = self._query(call, _instance_search(study, series))
        image_sets = [
            image_set
            for image_set in self.archive.primaries(study)
            if series in (None, image_set.representative.tags["SeriesInstanceUID"])
        ]
        if study and not series:
            image_sets.sort(key=lambda image_set: image_set.updated_at, reverse=True)
        rows = [
            self._instance_row(instance)
            for image_set in image_sets
            for instance in image_set.latest.instances.values()
        ]
        if series or not study:
            rows.sort(key=lambda row: _number(row, "00200013"))
        found = [row for row in rows if query.matches(row)]
        return _page(found, query, _INSTANCE_TAGS, None)

    def _query(self, call: Call, search: str) -> Query:
        require_json(call.request, only=True)
        return query_of(call.request, _KEY_LEVELS[search])

    def _study_row(self, image_sets: Sequence[ImageSet]) -> Row:
        first = image_sets[0].representative
        modalities = sorted({found.representative.tags["Modality"] for found in image_sets} - {""})
        return {
            **self._row(first),
            "00080061": {"vr": "CS", "Value": modalities},
            "00081190": _url(f"{self.studies_url}/{first.tags['StudyInstanceUID']}"),
            "00201206": {"vr": "IS", "Value": [len(image_sets)]},
            "00201208": {
                "vr": "IS",
                "Value": [sum(len(found.latest.instances) for found in image_sets)],
            },
        }

    def _series_row(self, image_set: ImageSet) -> Row:
        tags = image_set.representative.tags
        study = self.archive.primaries(tags["StudyInstanceUID"])
        return {
            **self._study_row(study),
            **self._row(image_set.representative),
            "00081190": _url(self._series_url(image_set.representative)),
            "00201209": {"vr": "IS", "Value": [len(image_set.latest.instances)]},
        }

    def _instance_row(self, instance: Instance) -> Row:
        url = f"{self._series_url(instance)}/instances/{instance.sop_instance_uid}"
        return {**self._row(instance), "00081190": _url(url)}

    def _series_url(self, instance: Instance) -> str:
        tags = instance.tags
        return f"{self.studies_url}/{tags['StudyInstanceUID']}/series/{tags['SeriesInstanceUID']}"

    def _row(self, instance: Instance) -> Row:
        return _parsed(self.segment, instance.dicom_json)


_KEY_LEVELS: Final[dict[str, Any]] = {
    "study": ("study",),
    "series": ("series",),
    "all-series": ("study", "series"),
    "instance": ("instance",),
    "study-instances": ("series", "instance"),
    "all-instances": ("study", "series", "instance"),
}


@lru_cache(maxsize=4096)
def _parsed(segment: Segment, extent: Extent) -> Row:
    row: Row = json.loads(segment.read(extent))
    return row


def _instance_search(study: str | None, series: str | None) -> str:
    if series:
        return "instance"
    return "study-instances" if study else "all-instances"


def _last_update(image_sets: Sequence[ImageSet]) -> Any:
    return max(image_set.updated_at for image_set in image_sets)


def _number(row: Row, tag: str) -> int:
    text = next(iter(texts_of(row, tag)), "")
    return int(text) if text.lstrip("+-").isdecimal() else 0


def _url(text: str) -> dict[str, Any]:
    return {"vr": "UR", "Value": [text]}


def _page(
    rows: list[Row], query: Query, usual: frozenset[str], everything: frozenset[str] | None
) -> Response:
    """One window of rows; `everything` None means that `all` is the whole data set."""
    window = rows[query.offset : query.offset + query.limit]
    wanted = everything if query.fields is None else usual | query.fields
    return json_response(
        [
            {tag: row[tag] for tag in sorted(row) if wanted is None or tag in wanted}
            for row in window
        ],
        content_type=DICOM_JSON,
    )
