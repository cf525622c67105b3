"""Which operation a request asks for, by botocore's model and the DICOMweb pages of the guide."""

import re
from dataclasses import dataclass
from typing import Final, Literal

from teleprefetch.local.healthimaging.wire import Request, ServiceError

Surface = Literal["native", "dicomweb"]
_DS: Final = r"/datastore/(?P<datastore_id>[^/]+)"
_SET: Final = _DS + r"/imageSet/(?P<image_set_id>[^/]+)"
_STUDY: Final = _DS + r"/studies/(?P<study>[^/]+)"
_SERIES: Final = _STUDY + r"/series/(?P<series>[^/]+)"
_INSTANCE: Final = _SERIES + r"/instances/(?P<instance>[^/]+)"


@dataclass(frozen=True, slots=True)
class Route:
    """An operation, the shape of its requests, and what part of the service it belongs to."""

    operation: str
    method: str
    pattern: re.Pattern[str]
    surface: Surface


def _native(operation: str, method: str, pattern: str) -> Route:
    return Route(operation, method, re.compile(pattern), "native")


def _dicomweb(operation: str, pattern: str, method: str = "GET") -> Route:
    return Route(operation, method, re.compile(pattern), "dicomweb")


# The frequent one first: the table is searched in order.
_ROUTES: Final = (
    _native("GetImageFrame", "POST", _SET + "/getImageFrame"),
    _native("GetImageSetMetadata", "POST", _SET + "/getImageSetMetadata"),
    _native("GetImageSet", "POST", _SET + "/getImageSet"),
    _native("ListImageSetVersions", "POST", _SET + "/listImageSetVersions"),
    _native("DeleteImageSet", "POST", _SET + "/deleteImageSet"),
    _native("SearchImageSets", "POST", _DS + "/searchImageSets"),
    _native("StartDICOMImportJob", "POST", "/startDICOMImportJob" + _DS),
    _native("GetDICOMImportJob", "GET", f"/getDICOMImportJob{_DS}/job/(?P<job_id>[^/]+)"),
    _native("ListDICOMImportJobs", "GET", "/listDICOMImportJobs" + _DS),
    _native("GetDatastore", "GET", _DS),
    _native("ListDatastores", "GET", "/datastore"),
    _dicomweb("GetDICOMInstanceFrames", _INSTANCE + r"/frames/(?P<frames>[^/]+)"),
    _dicomweb("GetDICOMInstanceMetadata", _INSTANCE + "/metadata"),
    _dicomweb("GetDICOMBulkdata", _INSTANCE + r"/bulkdata/(?P<digest>[^/]+)"),
    _dicomweb("GetDICOMInstance", _INSTANCE),
    _dicomweb("GetDICOMSeriesMetadata", _SERIES + "/metadata"),
    _dicomweb("SearchDICOMInstances", _SERIES + "/instances"),
    _dicomweb("SearchDICOMStudyInstances", _STUDY + "/instances"),
    _dicomweb("SearchDICOMSeries", _STUDY + "/series"),
    _dicomweb("SearchDICOMStudies", _DS + "/studies"),
    _dicomweb("SearchDICOMAllSeries", _DS + "/series"),
    _dicomweb("SearchDICOMAllInstances", _DS + "/instances"),
    _dicomweb("StoreDICOM", _DS + "/studies", "POST"),
    _dicomweb("StoreDICOMStudy", _STUDY, "POST"),
)
# Operations HealthImaging has and this stand-in has not.
_LEFT_OUT: Final = (
    _native("CopyImageSet", "POST", _SET + "/copyImageSet"),
    _native("UpdateImageSetMetadata", "POST", _SET + "/updateImageSetMetadata"),
    _native("CreateDatastore", "POST", "/datastore"),
    _native("DeleteDatastore", "DELETE", _DS),
    _native("ListTagsForResource", "GET", "/tags/.+"),
    _native("TagResource", "POST", "/tags/.+"),
    _native("UntagResource", "DELETE", "/tags/.+"),
)
# Resources of PS3.18 that HealthImaging has not (developer guide, "Retrieving DICOM data").
_ABSENT: Final = (
    _dicomweb("study metadata", _STUDY + "/metadata"),
    _dicomweb("rendered", _DS + "/studies/.+/rendered"),
    _dicomweb("thumbnail", _DS + "/studies/.+/thumbnail"),
    _dicomweb("a whole study", _STUDY),
    _dicomweb("a whole series", _SERIES),
)


@dataclass(frozen=True, slots=True)
class Match:
    """What a request asks for."""

    operation: str
    surface: Surface
    parameters: dict[str, str]


def match(request: Request) -> Match:
    """The operation a request asks for and the parameters in its path.

    Raises:
        ServiceError: UnknownOperationException or NotImplementedException, naming what is absent.
    """
    path = request.path
    method = "GET" if request.method == "HEAD" else request.method
    for route in _ROUTES:
        found = route.pattern.fullmatch(path) if route.method == method else None
        if found is not None:
            return Match(route.operation, route.surface, found.groupdict())
    for route in _LEFT_OUT:
        if route.method == method and route.pattern.fullmatch(path):
            raise ServiceError(
                "NotImplementedException", f"{route.operation} is not part of this stand-in"
            )
    for route in _ABSENT:
        if route.method == method and route.pattern.fullmatch(path):
            raise ServiceError(
                "UnknownOperationException", f"HealthImaging does not serve {route.operation}"
            )
    raise ServiceError("UnknownOperationException", "No operation has this method and path")
