"""Which code answers which operation."""

from collections.abc import Callable

from teleprefetch.local.healthimaging.native import Native
from teleprefetch.local.healthimaging.native_jobs import NativeJobs
from teleprefetch.local.healthimaging.qido import Qido
from teleprefetch.local.healthimaging.stow import Stow
from teleprefetch.local.healthimaging.wado import Wado
from teleprefetch.local.healthimaging.wire import Call, Response

Operation = Callable[[Call], Response]


def operations_of(
    jobs: NativeJobs, native: Native, wado: Wado, qido: Qido, stow: Stow
) -> dict[str, Operation]:
    """The operations of a data store by their names."""
    return {
        "GetDatastore": jobs.get_datastore,
        "ListDatastores": jobs.list_datastores,
        "StartDICOMImportJob": jobs.start_dicom_import_job,
        "GetDICOMImportJob": jobs.get_dicom_import_job,
        "ListDICOMImportJobs": jobs.list_dicom_import_jobs,
        "SearchImageSets": native.search_image_sets,
        "GetImageSet": native.get_image_set,
        "ListImageSetVersions": native.list_image_set_versions,
        "GetImageSetMetadata": native.get_image_set_metadata,
        "GetImageFrame": native.get_image_frame,
        "DeleteImageSet": native.delete_image_set,
        "GetDICOMSeriesMetadata": wado.series_metadata,
        "GetDICOMInstance": wado.instance,
        "GetDICOMInstanceMetadata": wado.instance_metadata,
        "GetDICOMInstanceFrames": wado.frames,
        "GetDICOMBulkdata": wado.bulkdata,
        "SearchDICOMStudies": qido.studies,
        "SearchDICOMSeries": qido.series,
        "SearchDICOMAllSeries": qido.series,
        "SearchDICOMInstances": qido.instances,
        "SearchDICOMStudyInstances": qido.instances,
        "SearchDICOMAllInstances": qido.instances,
        "StoreDICOM": stow.store,
        "StoreDICOMStudy": stow.store,
    }
