"""The events HealthImaging puts on the bus (developer guide, "Using EventBridge")."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, Literal

from teleprefetch.local.healthimaging.archive import ImageSet
from teleprefetch.local.healthimaging.jobs import Job

SOURCE: Final = "aws.medical-imaging"
ImageSetKey = Literal["imagesetId", "imageSetId", "both"]
EventOutputUri = Literal["as-passed", "job-folder"]
_JOB_TITLES: Final = {
    "SUBMITTED": "Import Job Submitted",
    "IN_PROGRESS": "Import Job In Progress",
    "COMPLETED": "Import Job Completed",
    "FAILED": "Import Job Failed",
}
_IMAGE_SET_TITLES: Final = {
    "CREATED": "Image Set Created",
    "UPDATED": "Image Set Updated",
    "DELETING": "Image Set Deleting",
    "DELETED": "Image Set Deleted",
}


@dataclass(frozen=True, slots=True)
class Notices:
    """Publishes the state changes of one data store.

    `image_set_key` is how the id of an image set is spelt: the guide has `imagesetId`, the
    consumers that AWS publishes read `imageSetId`. `output_uri` is what an import event says of
    the output: the prefix as it was passed, or the folder of the job.
    """

    events: Any
    event_bus_name: str
    datastore_arn: str
    image_set_key: ImageSetKey
    output_uri: EventOutputUri
    clock: Callable[[], datetime]

    def job_changed(self, job: Job) -> None:
        """Publish the status a job has now."""
        output = job.output_s3_uri if self.output_uri == "as-passed" else job.folder_uri
        detail = {
            "imagingVersion": "1.0",
            "datastoreId": job.datastore_id,
            "jobId": job.job_id,
            "jobName": job.job_name,
            "jobStatus": job.status,
            "inputS3Uri": job.input_s3_uri,
            "outputS3Uri": output,
        }
        self._put(_JOB_TITLES[job.status], detail, self.datastore_arn)

    def image_set_changed(self, image_set: ImageSet) -> None:
        """Publish the state an image set has now."""
        keys = (
            ("imagesetId", "imageSetId") if self.image_set_key == "both" else (self.image_set_key,)
        )
        detail = {
            "imagingVersion": "1.0",
            "isPrimary": image_set.is_primary,
            "imageSetVersion": str(image_set.latest.number),
            "datastoreId": self.datastore_arn.rpartition("/")[2],
            **dict.fromkeys(keys, image_set.image_set_id),
            "imageSetState": image_set.state,
            "imageSetWorkflowStatus": image_set.workflow_status,
        }
        self._put(
            _IMAGE_SET_TITLES[image_set.workflow_status],
            detail,
            f"{self.datastore_arn}/imageset/{image_set.image_set_id}",
        )

    def _put(self, detail_type: str, detail: dict[str, Any], resource: str) -> None:
        answer = self.events.put_events(
            Entries=[
                {
                    "Source": SOURCE,
                    "DetailType": detail_type,
                    "Detail": json.dumps(detail),
                    "Resources": [resource],
                    "Time": self.clock(),
                    "EventBusName": self.event_bus_name,
                }
            ]
        )
        if answer["FailedEntryCount"]:
            raise RuntimeError(f"the bus refused an event: {answer['Entries'][0]['ErrorCode']}")
