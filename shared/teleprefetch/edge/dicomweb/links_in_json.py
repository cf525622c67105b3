"""Makes the URLs in DICOM JSON point to this node: an archive's own may be out of reach."""

from typing import Any, Final

from teleprefetch.edge.store.attributes import Attributes, dump_instances, read_instances, text_of

_RETRIEVE_URL: Final = "00081190"


def needs_links(dicom_json: bytes) -> bool:
    """Tell whether there is a URL in a document."""
    return b'"BulkDataURI"' in dicom_json or b'"00081190"' in dicom_json


def with_links(dicom_json: bytes, series_url: str) -> bytes:
    """The document with its URLs below the series' own.

    Bulk data keep the place of their attribute: `bulkdata/<tag>`, and `<tag>/<item>/<tag>` within
    sequences.
    """
    instances = read_instances(dicom_json)
    for instance in instances:
        url = f"{series_url}/instances/{text_of(instance, '00080018')}"
        if _RETRIEVE_URL in instance:
            instance[_RETRIEVE_URL] = {"vr": "UR", "Value": [url]}
        _link(instance, f"{url}/bulkdata")
    return dump_instances(instances)


def _link(attributes: Attributes, url: str) -> None:
    for tag, element in attributes.items():
        if not isinstance(element, dict):
            continue
        if "BulkDataURI" in element:
            element["BulkDataURI"] = f"{url}/{tag}"
        for number, item in enumerate(_items(element), start=1):
            _link(item, f"{url}/{tag}/{number}")


def _items(element: dict[str, Any]) -> list[Attributes]:
    values = element.get("Value")
    if not isinstance(values, list):
        return []
    return [item if isinstance(item, dict) else {} for item in values]
