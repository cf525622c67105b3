"""Where checkpoints of the audit are kept: S3 under object lock, or a folder."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Final

from botocore.exceptions import ClientError

from teleprefetch.adapters.aws_errors import in_our_words
from teleprefetch.errors import CorruptPayloadError, OriginUnavailableError

if TYPE_CHECKING:
    from mypy_boto3_s3.client import S3Client

_THERE_ALREADY: Final = frozenset({"PreconditionFailed", "ConditionalRequestConflict"})


class S3Checkpoints:
    """Objects `<prefix><node>/<lane>/<number>.json`, each written once and locked.

    COMPLIANCE mode: nobody, the account's root included, deletes or shortens it before its time
    (Amazon S3 user guide, "Locking objects with Object Lock"). The bucket must have been made with
    object lock. The node needs s3:PutObject and s3:PutObjectRetention, and no more than
    s3:GetObject and s3:ListBucket besides.

    Args:
        client: S3.
        bucket: with object lock.
        prefix: before all keys.
        retain_days: how long each checkpoint is locked.
    """

    def __init__(
        self, client: "S3Client", *, bucket: str, prefix: str = "", retain_days: int = 2557
    ) -> None:
        self._client = client
        self._bucket = bucket
        self._prefix = prefix
        self._retain = timedelta(days=retain_days)

    def put(self, *, node: str, lane: str, number: int, document: bytes) -> None:
        """Keep a checkpoint; again with the same document is no error.

        Raises:
            CorruptPayloadError: another document is there under this number.
            OriginUnavailableError: it is not kept, or that is not known.
        """
        key = self._key(node, lane, number)
        if not self._put_first(key, document) and self._get(key) != document:
            raise CorruptPayloadError("checkpoints bucket: another checkpoint has this number")

    def _put_first(self, key: str, document: bytes) -> bool:
        """False if there is an object already."""
        with in_our_words("checkpoints bucket"):
            try:
                self._client.put_object(
                    Bucket=self._bucket,
                    Key=key,
                    Body=document,
                    ContentType="application/json",
                    IfNoneMatch="*",
                    ChecksumAlgorithm="SHA256",
                    ObjectLockMode="COMPLIANCE",
                    ObjectLockRetainUntilDate=datetime.now(UTC) + self._retain,
                )
            except ClientError as error:
                if error.response.get("Error", {}).get("Code") not in _THERE_ALREADY:
                    raise
                return False
        return True

    def after(self, *, node: str, lane: str, number: int) -> tuple[bytes, ...]:
        """The checkpoints of a lane with greater numbers, in order."""
        with in_our_words("checkpoints bucket"):
            pages = self._client.get_paginator("list_objects_v2").paginate(
                Bucket=self._bucket,
                Prefix=f"{self._prefix}{node}/{lane}/",
                StartAfter=self._key(node, lane, number),
            )
            keys = [item["Key"] for page in pages for item in page.get("Contents", ())]
        return tuple(self._get(key) for key in keys)

    def lanes(self, *, node: str) -> tuple[str, ...]:
        """The lanes of a node that checkpoints speak of."""
        prefix = f"{self._prefix}{node}/"
        with in_our_words("checkpoints bucket"):
            pages = self._client.get_paginator("list_objects_v2").paginate(
                Bucket=self._bucket, Prefix=prefix, Delimiter="/"
            )
            found = [one["Prefix"] for page in pages for one in page.get("CommonPrefixes", ())]
        return tuple(name.removeprefix(prefix).rstrip("/") for name in found)

    def _get(self, key: str) -> bytes:
        with in_our_words("checkpoints bucket"):
            return self._client.get_object(Bucket=self._bucket, Key=key)["Body"].read()

    def _key(self, node: str, lane: str, number: int) -> str:
        return f"{self._prefix}{node}/{lane}/{number:012d}.json"


class FolderCheckpoints:
    """Files `<node>/<lane>/<number>.json`; for one machine, and for copies of a bucket."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def put(self, *, node: str, lane: str, number: int, document: bytes) -> None:
        """Keep a checkpoint; raises as `S3Checkpoints.put` does."""
        path = self._path(node, lane, number)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("xb") as file:
                file.write(document)
        except FileExistsError:
            if path.read_bytes() != document:
                raise CorruptPayloadError("checkpoints: another has this number") from None
        except OSError as error:
            raise OriginUnavailableError("checkpoints: the folder takes none") from error

    def after(self, *, node: str, lane: str, number: int) -> tuple[bytes, ...]:
        """The checkpoints of a lane with greater numbers, in order."""
        first = self._path(node, lane, number).name
        paths = sorted(self._path(node, lane, 0).parent.glob("*.json"))
        return tuple(path.read_bytes() for path in paths if path.name > first)

    def lanes(self, *, node: str) -> tuple[str, ...]:
        """The lanes of a node that checkpoints speak of."""
        return tuple(sorted(path.name for path in (self._folder / node).glob("*/")))

    def _path(self, node: str, lane: str, number: int) -> Path:
        return self._folder / node / lane / f"{number:012d}.json"
