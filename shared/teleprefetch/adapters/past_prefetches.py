"""The candidates that past prefetches found, from the documents bucket or a copy of it."""

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final

from teleprefetch.adapters.aws_errors import in_our_words
from teleprefetch.domain.counterfactual import Past
from teleprefetch.errors import CorruptPayloadError, InvalidPayloadError
from teleprefetch.prefetch import Candidates

if TYPE_CHECKING:
    from mypy_boto3_s3.client import S3Client

_FOLDER: Final = "prefetch"
_NAME: Final = "candidates.json"
Span = tuple[datetime | None, datetime | None]


class PastOnS3:
    """The prefetches whose documents are in a bucket."""

    def __init__(self, client: "S3Client", bucket: str) -> None:
        self._client = client
        self._bucket = bucket

    def between(self, span: Span) -> Iterator[Past]:
        """The prefetches of a time, both ends included, by name.

        Raises:
            CorruptPayloadError: a document is cut short or of another kind; names its key.
        """
        pages = self._client.get_paginator("list_objects_v2")
        with in_our_words("documents bucket"):
            for page in pages.paginate(Bucket=self._bucket, Prefix=f"{_FOLDER}/"):
                for one in page.get("Contents", ()):
                    if _is_wanted(one["Key"], one["LastModified"], span):
                        answer = self._client.get_object(Bucket=self._bucket, Key=one["Key"])
                        yield _past(one["Key"], one["LastModified"], answer["Body"].read())


class PastInFolder:
    """The same from a folder that is a copy of the bucket; times are those of the files."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def between(self, span: Span) -> Iterator[Past]:
        """The prefetches of a time, both ends included, by name.

        Raises:
            InvalidPayloadError: the folder holds no prefetches, or cannot be read.
            CorruptPayloadError: a document is cut short or of another kind; names its key.
        """
        if not (self._folder / _FOLDER).is_dir():
            raise InvalidPayloadError(f"documents: no folder {_FOLDER} there")
        try:
            for path in sorted((self._folder / _FOLDER).glob(f"*/{_NAME}")):
                at = datetime.fromtimestamp(path.stat().st_mtime, UTC)
                key = path.relative_to(self._folder).as_posix()
                if _is_wanted(key, at, span):
                    yield _past(key, at, path.read_bytes())
        except OSError as error:
            raise InvalidPayloadError("documents: cannot be read") from error


def _is_wanted(key: str, at: datetime, span: Span) -> bool:
    since, until = span
    return (
        key.endswith(f"/{_NAME}")
        and (since is None or since <= at)
        and (until is None or at <= until)
    )


def _past(key: str, at: datetime, content: bytes) -> Past:
    try:
        candidates = Candidates.parse_json(content, at=key)
    except InvalidPayloadError as error:
        raise CorruptPayloadError(str(error)) from error
    return Past(prefetch_id=key.split("/")[-2], on=at.date(), candidates=candidates)
