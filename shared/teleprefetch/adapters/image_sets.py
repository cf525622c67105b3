"""Which study an image set of HealthImaging belongs to: events and manifests do not say."""

from typing import TYPE_CHECKING, Final

from teleprefetch.adapters.dicomweb_service import unzipped
from teleprefetch.adapters.healthimaging_errors import translated
from teleprefetch.domain.image_set_metadata import read_image_set_metadata

if TYPE_CHECKING:
    from mypy_boto3_medical_imaging.client import HealthImagingClient

_MAX_METADATA_BYTES: Final = 50_000_000  # HealthImaging developer guide, "Endpoints and quotas"


class HealthImagingImageSets:
    """`ports.ImageSets` of one data store; no search is made by the id of an image set."""

    def __init__(self, client: "HealthImagingClient", datastore_id: str) -> None:
        self._client = client
        self._datastore_id = datastore_id

    def study_of(self, image_set_id: str) -> str:
        """The StudyInstanceUID, from the metadata; GetImageSet has no DICOM attributes."""
        with translated("GetImageSetMetadata"):
            answer = self._client.get_image_set_metadata(
                datastoreId=self._datastore_id, imageSetId=image_set_id
            )
            zipped = answer["imageSetMetadataBlob"].read()
        document = unzipped(zipped, max_bytes=_MAX_METADATA_BYTES, what="image set metadata")
        return read_image_set_metadata(document).study_instance_uid
