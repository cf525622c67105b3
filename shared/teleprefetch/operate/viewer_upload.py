"""Puts a viewer into the bucket that CloudFront serves it from."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from teleprefetch.adapters.aws_errors import in_our_words
from teleprefetch.edge.pages.viewer import ASK_AGAIN, CONFIG, FOREVER, PAGE, assets_of, media_type
from teleprefetch.edge.pages.viewer_login import LOGGED_OUT_PAGE
from teleprefetch.operate.viewer_site import ViewerSite

if TYPE_CHECKING:
    from mypy_boto3_s3.client import S3Client

_LOGGED_OUT: Final = "logged-out.html"


@dataclass(frozen=True, slots=True)
class Upload:
    """One object: its key, its bytes or the file of them, what it is and how long it holds."""

    key: str
    content: bytes | Path
    media_type: str
    caching: str

    @property
    def size_bytes(self) -> int:
        """How large it is."""
        if isinstance(self.content, bytes):
            return len(self.content)
        return self.content.stat().st_size


def uploads_of(folder: Path, site: ViewerSite) -> tuple[Upload, ...]:
    """Everything that the viewer of a site is made of, in the order in which it may be put there.

    What a page names comes before the page, so that nobody is given a page of files that are not
    there yet. Files with a digest in their name stay as they are; the others are asked for again.
    The released configuration is not among them: the site's own takes its place.
    """
    files = [
        Upload(name, asset.path, asset.media_type, asset.caching)
        for name, asset in assets_of(folder).items()
        if name not in {CONFIG, PAGE}
    ]
    page = Upload(PAGE, folder / PAGE, media_type(PAGE), ASK_AGAIN)
    made = (
        Upload(_LOGGED_OUT, LOGGED_OUT_PAGE, media_type(_LOGGED_OUT), ASK_AGAIN),
        Upload(CONFIG, site.config.script(), media_type(CONFIG), ASK_AGAIN),
    )
    return (*sorted(files, key=lambda one: one.caching != FOREVER), *made, page)


def put_viewer(
    s3: "S3Client",
    uploads: tuple[Upload, ...],
    *,
    bucket: str,
    told: Callable[[int, int], None],
) -> int:
    """Put what is not there yet; how many objects that were.

    An object that never changes and is there in its size is left alone. What an earlier viewer had
    stays for those who have its page open.

    Args:
        s3: the client.
        uploads: what is wanted there, in this order.
        bucket: where.
        told: is called with the number of those that are done, and of all.

    Raises:
        AccessDeniedError: the caller may not.
        OriginUnavailableError: S3 does not answer; again, it goes on where it was.
    """
    with in_our_words("viewer's bucket"):
        there = dict(_held(s3, bucket))
        count = 0
        for done, one in enumerate(uploads, start=1):
            if one.caching != FOREVER or there.get(one.key) != one.size_bytes:
                _put(s3, bucket, one)
                count += 1
            told(done, len(uploads))
    return count


def _held(s3: "S3Client", bucket: str) -> Iterator[tuple[str, int]]:
    for page in s3.get_paginator("list_objects_v2").paginate(Bucket=bucket):
        for found in page.get("Contents", ()):
            yield found["Key"], found["Size"]


def _put(s3: "S3Client", bucket: str, one: Upload) -> None:
    content = one.content if isinstance(one.content, bytes) else one.content.read_bytes()
    s3.put_object(
        Bucket=bucket,
        Key=one.key,
        Body=content,
        ContentType=one.media_type,
        CacheControl=one.caching,
    )
