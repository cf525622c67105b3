"""Plans and other documents in S3, as JSON."""

from typing import TYPE_CHECKING

from teleprefetch.adapters.aws_errors import in_our_words
from teleprefetch.errors import CorruptPayloadError, InvalidPayloadError
from teleprefetch.model import AnyValue, ObjectPointer

if TYPE_CHECKING:
    from mypy_boto3_s3.client import S3Client


class S3Documents:
    """`ports.Documents` on a bucket; reading follows the pointer, whatever bucket it names."""

    def __init__(self, client: "S3Client", bucket: str) -> None:
        self._client = client
        self._bucket = bucket

    def put(self, key: str, document: AnyValue) -> ObjectPointer:
        """Write a document; an S3 put is whole or not at all."""
        with in_our_words("documents bucket"):
            self._client.put_object(
                Bucket=self._bucket,
                Key=key,
                Body=document.model_dump_json().encode(),
                ContentType="application/json",
            )
        return ObjectPointer(bucket=self._bucket, key=key)

    def get(self, pointer: ObjectPointer, kind: type[AnyValue]) -> AnyValue:
        """Read a document back as the value it was written from."""
        content = self.get_bytes(pointer)
        try:
            return kind.parse_json(content, at=kind.__name__)
        except InvalidPayloadError as error:
            raise CorruptPayloadError(str(error)) from error

    def get_bytes(self, pointer: ObjectPointer) -> bytes:
        """Read an object whole."""
        with in_our_words("documents bucket"):
            answer = self._client.get_object(Bucket=pointer.bucket, Key=pointer.key)
            return answer["Body"].read()
