import gzip
import json
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import quote

import boto3
import numpy as np
import pydicom.data
import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.config import Config
from botocore.credentials import Credentials
from botocore.exceptions import ClientError
from moto import mock_aws
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian
from urllib3 import PoolManager

from teleprefetch.local.healthimaging import HealthImaging, Throttles

DATASTORE = "0123456789abcdef0123456789abcdef"
REGION = "us-east-1"
ROLE = "arn:aws:iam::123456789012:role/ImportRole"
OWNER = Credentials("local", "secret")
FILES = Path(pydicom.data.__file__).parent
Found = TypeVar("Found")


def until(read: Callable[[], Found | None], *, deadline_s: float = 20.0) -> Found:
    """Poll until `read` gives something."""
    end = time.monotonic() + deadline_s
    while time.monotonic() < end:
        found = read()
        if found:
            return found
        time.sleep(0.01)
    raise AssertionError("the condition did not come true in time")


def bundled(name: str) -> bytes:
    """One of the real files that pydicom ships."""
    return next(FILES.rglob(name)).read_bytes()


@dataclass(frozen=True)
class Slice:
    """A small CT slice; every field can be set so that slices agree or conflict."""

    study: str = "1.2.3"
    series: str = "1.2.3.1"
    instance: str = "1.2.3.1.1"
    number: int = 1
    series_number: str = "1"
    patient_id: str = "P1"
    accession: str = "A1"
    study_date: str = "20240131"
    modality: str = "CT"
    extra: dict[str, Any] = field(default_factory=dict)
    pixels: np.ndarray | None = None

    def p10(self) -> bytes:
        pixels = self.pixels
        if pixels is None:
            rng = np.random.default_rng(self.number)
            pixels = rng.integers(-1024, 3000, (32, 40), dtype=np.int16)
        dataset = Dataset()
        dataset.SOPClassUID = "1.2.840.10008.5.1.4.1.1.2"
        dataset.SOPInstanceUID = self.instance
        dataset.StudyInstanceUID = self.study
        dataset.SeriesInstanceUID = self.series
        dataset.StudyDate = self.study_date
        dataset.StudyTime = "120000"
        dataset.StudyID = "S1"
        dataset.AccessionNumber = self.accession
        dataset.PatientID = self.patient_id
        dataset.PatientName = "Doe^Jane"
        dataset.PatientBirthDate = "19700101"
        dataset.PatientSex = "F"
        dataset.Modality = self.modality
        dataset.BodyPartExamined = "CHEST"
        dataset.StudyDescription = "Chest CT"
        dataset.SeriesNumber = self.series_number
        dataset.InstanceNumber = str(self.number)
        for keyword, value in self.extra.items():
            setattr(dataset, keyword, value)
        _add_pixels(dataset, pixels)
        return written(dataset)


def _add_pixels(dataset: Dataset, pixels: np.ndarray) -> None:
    dataset.Rows, dataset.Columns = pixels.shape[-2:]
    dataset.SamplesPerPixel = 1
    dataset.PhotometricInterpretation = "MONOCHROME2"
    dataset.BitsAllocated = dataset.BitsStored = 8 * pixels.itemsize
    dataset.HighBit = dataset.BitsStored - 1
    dataset.PixelRepresentation = int(pixels.dtype.kind == "i")
    if pixels.ndim == 3:
        dataset.NumberOfFrames = len(pixels)
    dataset.PixelData = pixels.tobytes()
    dataset["PixelData"].VR = "OW" if pixels.itemsize > 1 else "OB"


def written(dataset: Dataset) -> bytes:
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.file_meta.MediaStorageSOPClassUID = dataset.get("SOPClassUID", "1.2.3")
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.get("SOPInstanceUID", "1.2.3")
    content = BytesIO()
    dataset.save_as(content, enforce_file_format=True)
    return content.getvalue()


@dataclass(frozen=True)
class Bench:
    """A running stand-in, its buckets and bus, and clients for it."""

    ahi: HealthImaging
    s3: Any
    sqs: Any
    queue_url: str
    client: Any
    http: PoolManager

    def put(self, files: dict[str, bytes], prefix: str = "in/") -> None:
        for name, content in files.items():
            self.s3.put_object(Bucket="input", Key=prefix + name, Body=content)

    def start(self, prefix: str = "in/", job: str = "first", **more: str) -> str:
        answer = self.client.start_dicom_import_job(
            datastoreId=DATASTORE,
            dataAccessRoleArn=ROLE,
            clientToken=job,
            inputS3Uri=f"s3://input/{prefix}",
            outputS3Uri="s3://output/out/",
            **more,
        )
        return str(answer["jobId"])

    def job(self, job_id: str) -> dict[str, Any]:
        answer = self.client.get_dicom_import_job(datastoreId=DATASTORE, jobId=job_id)
        return dict(answer["jobProperties"])

    def finished(self, job_id: str) -> dict[str, Any]:
        def ended() -> dict[str, Any] | None:
            job = self.job(job_id)
            return job if job["jobStatus"] in {"COMPLETED", "FAILED"} else None

        return until(ended)

    def imports(self, files: dict[str, bytes], prefix: str = "in/") -> dict[str, Any]:
        """Import files and return the manifest's summary."""
        self.put(files, prefix)
        job = self.finished(self.start(prefix, job=prefix.strip("/")))
        assert job["jobStatus"] == "COMPLETED", job
        manifest = json.loads(self.output(job, "job-output-manifest.json"))
        return dict(manifest["jobSummary"])

    def output(self, job: dict[str, Any], name: str) -> bytes:
        key = job["outputS3Uri"].removeprefix("s3://output/") + name
        with self.s3.get_object(Bucket="output", Key=key)["Body"] as body:
            return bytes(body.read())

    def lines(self, summary: dict[str, Any], name: str) -> list[dict[str, Any]]:
        content = self.output({"outputS3Uri": summary["outputS3Uri"]}, name)
        return [json.loads(line) for line in content.splitlines()]

    def image_sets(self) -> list[dict[str, Any]]:
        pages = self.client.get_paginator("search_image_sets").paginate(datastoreId=DATASTORE)
        return [row for page in pages for row in page["imageSetsMetadataSummaries"]]

    def events(self, count: int) -> list[dict[str, Any]]:
        """The next events off the bus, in the order they were put."""
        found: list[dict[str, Any]] = []

        def enough() -> bool:
            answer = self.sqs.receive_message(
                QueueUrl=self.queue_url, MaxNumberOfMessages=10, WaitTimeSeconds=0
            )
            for message in answer.get("Messages", ()):
                found.append(json.loads(message["Body"]))
                self.sqs.delete_message(
                    QueueUrl=self.queue_url, ReceiptHandle=message["ReceiptHandle"]
                )
            return len(found) >= count

        until(enough)
        assert len(found) == count
        return found

    def native(self, method: str, path: str, body: bytes = b"", **headers: str) -> Any:
        """A signed request to the native API, for what a boto3 client would not send or show."""
        url = self.ahi.url + path
        request = AWSRequest(method, url, data=body, headers=headers)
        SigV4Auth(OWNER, "medical-imaging", REGION).add_auth(request)
        return self.http.request(
            method, url, body=body, headers=dict(request.headers.items()), retries=False
        )

    def metadata(self, image_set_id: str, **more: str) -> dict[str, Any]:
        """The metadata document of an image set."""
        answer = self.client.get_image_set_metadata(
            datastoreId=DATASTORE, imageSetId=image_set_id, **more
        )
        assert answer["contentType"] == "application/json"
        assert answer["contentEncoding"] == "gzip"
        with answer["imageSetMetadataBlob"] as blob:
            return dict(json.loads(gzip.decompress(blob.read())))

    def instances(self, image_set_id: str, **more: str) -> dict[str, Any]:
        """The instances in the metadata document of an image set."""
        (series,) = self.metadata(image_set_id, **more)["Study"]["Series"].values()
        return dict(series["Instances"])

    def frame(self, image_set_id: str, frame_id: str) -> tuple[bytes, str]:
        """A frame and its content type."""
        answer = self.client.get_image_frame(
            datastoreId=DATASTORE,
            imageSetId=image_set_id,
            imageFrameInformation={"imageFrameId": frame_id},
        )
        with answer["imageFrameBlob"] as blob:
            return blob.read(), answer["contentType"]

    def signed(self, path: str, *, credentials: Credentials = OWNER, **headers: str) -> Any:
        """A signed GET below the data store's DICOMweb base."""
        # What is signed is what is sent: a query is canonical only when it is all encoded.
        base, mark, query = path.partition("?")
        url = self.ahi.dicomweb_url + base + mark + quote(query, safe="=&%-_.~")
        request = AWSRequest("GET", url, headers=headers)
        SigV4Auth(credentials, "medical-imaging", REGION).add_auth(request)
        return self.http.request("GET", url, headers=dict(request.headers.items()), retries=False)


@contextmanager
def refused(status: int, name: str) -> Iterator[None]:
    """The body of the block must be refused with this error, as botocore reads it."""
    with pytest.raises(ClientError) as caught:
        yield
    assert caught.value.response["Error"]["Code"] == name
    assert caught.value.response["ResponseMetadata"]["HTTPStatusCode"] == status


@contextmanager
def bench(**settings: Any) -> Iterator[Bench]:
    """A stand-in in a moto account, with all its events in a queue; unthrottled unless told."""
    environment = {
        "AWS_ACCESS_KEY_ID": "local",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "AWS_DEFAULT_REGION": REGION,
    }
    before = {name: os.environ.get(name) for name in environment}
    os.environ.update(environment)
    settings.setdefault("throttles", Throttles())
    try:
        with mock_aws(config={"core": {"mock_credentials": False}}), PoolManager() as http:
            s3, events, sqs = boto3.client("s3"), boto3.client("events"), boto3.client("sqs")
            for bucket in ("input", "output"):
                s3.create_bucket(Bucket=bucket)
            queue_url = sqs.create_queue(QueueName="all-events")["QueueUrl"]
            events.put_rule(
                Name="all",
                EventPattern=json.dumps({"source": ["aws.medical-imaging"]}),
            )
            arn = f"arn:aws:sqs:{REGION}:123456789012:all-events"
            events.put_targets(Rule="all", Targets=[{"Id": "queue", "Arn": arn}])
            with HealthImaging(
                s3=s3,
                events=events,
                datastore_id=DATASTORE,
                credentials={"local": "secret"},
                **settings,
            ) as ahi:
                client = boto3.client(
                    "medical-imaging",
                    endpoint_url=ahi.url,
                    config=Config(inject_host_prefix=False, retries={"total_max_attempts": 1}),
                )
                yield Bench(ahi, s3, sqs, queue_url, client, http)
                client.close()
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name)
            else:
                os.environ[name] = value
