"""The stand-in as a whole: what is set, what runs, and how one request is answered."""

import threading
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import replace
from datetime import UTC, datetime
from types import TracebackType
from typing import Any, Final, Self

from teleprefetch.local.healthimaging.archive import Archive
from teleprefetch.local.healthimaging.bearer import Authorizer, BearerGuard
from teleprefetch.local.healthimaging.damage import files_taken_as_they_are
from teleprefetch.local.healthimaging.imports import Imports
from teleprefetch.local.healthimaging.journal import RequestLog
from teleprefetch.local.healthimaging.native import Native
from teleprefetch.local.healthimaging.native_jobs import DataStore, NativeJobs
from teleprefetch.local.healthimaging.notices import ImageSetKey, Notices
from teleprefetch.local.healthimaging.operations import operations_of
from teleprefetch.local.healthimaging.processing import Processing
from teleprefetch.local.healthimaging.qido import Qido
from teleprefetch.local.healthimaging.routing import Match, match
from teleprefetch.local.healthimaging.segment import Segment
from teleprefetch.local.healthimaging.server import HttpServer
from teleprefetch.local.healthimaging.settings import Settings
from teleprefetch.local.healthimaging.sigv4 import Verifier
from teleprefetch.local.healthimaging.stow import Stow
from teleprefetch.local.healthimaging.throttle import (
    DEFAULT_THROTTLES,
    Gate,
    Link,
    Rate,
    Throttles,
)
from teleprefetch.local.healthimaging.wado import Wado
from teleprefetch.local.healthimaging.wire import (
    Call,
    Request,
    Response,
    ServiceError,
    error_response,
)

# The guide does not speak of CORS, but AWS's own viewer calls DICOMweb from a browser.
_CORS: Final = {
    "Access-Control-Allow-Origin": "*",
    "Access-Control-Allow-Headers": "*",
    "Access-Control-Allow-Methods": "GET, OPTIONS",
}


_DOCUMENTED: Final = Settings()


def _now() -> datetime:
    return datetime.now(UTC)


class HealthImaging:
    """A data store of AWS HealthImaging on loopback, with its native API and its DICOMweb.

    It imports from a real S3 client, puts real events on a bus, verifies signatures, and refuses
    what is over the rates of an account. `url` serves both APIs: boto3 reaches the native one with
    AWS_ENDPOINT_URL_MEDICAL_IMAGING set to it and AWS_DISABLE_HOST_PREFIX_INJECTION=true.
    """

    def __init__(
        self,
        *,
        s3: Any,
        events: Any,
        datastore_id: str,
        credentials: Mapping[str, str],
        region: str = "us-east-1",
        account_id: str = "123456789012",
        throttles: Throttles = DEFAULT_THROTTLES,
        port: int = 0,
        bandwidth_bps: int | None = None,
        authorizer: Authorizer | None = None,
        clock: Callable[[], datetime] = _now,
        event_bus_name: str = "default",
        imageset_key: ImageSetKey = "imagesetId",
        settings: Settings = _DOCUMENTED,
    ) -> None:
        """Set a stand-in up; it listens, and works, from entering it on.

        Args:
            s3: a boto3 client that reads inputs and writes outputs.
            events: a boto3 client for the event bus.
            datastore_id: the id of the data store, 32 digits and lower-case letters.
            credentials: the secret of each access key that may sign.
            region: the Region signatures must be scoped to.
            account_id: the account in ARNs.
            throttles: the rates of the account.
            port: where to listen; 0: anywhere.
            bandwidth_bps: bits a second of the one line all frames share; None: no limit.
            authorizer: what bearer tokens are shown to; None: they are refused.
            clock: the time, for timestamps and signatures.
            event_bus_name: the bus.
            imageset_key: how events spell the id of an image set.
            settings: what is undocumented otherwise.
        """
        self._s3 = s3
        self._events = events
        self._region = region
        self._account_id = account_id
        self._datastore_id = datastore_id
        self._verifier = Verifier(dict(credentials), region)
        self._gate = Gate(throttles)
        self._port = port
        self._link = None if bandwidth_bps is None else Link(bandwidth_bps)
        self._guard = BearerGuard(datastore_id, account_id, authorizer, clock)
        self._clock = clock
        self._event_bus_name = event_bus_name
        self._imageset_key = imageset_key
        self._settings = settings
        self._stack = ExitStack()
        self._closing = threading.Event()
        self._deletions: list[threading.Thread] = []
        self.request_log = RequestLog()
        self.processing = Processing(settings.processing_s)

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            stack.enter_context(files_taken_as_they_are())
            segment = stack.enter_context(Segment(self._settings.work_dir))
            server = HttpServer(port=self._port, answer=self._answer, link=self._link)
            stack.callback(server.server_close)
            self.url = server.url
            self._compose(stack, segment)
            stack.callback(self._finish_deletions)
            stack.enter_context(server)
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._closing.set()
        self._stack.close()

    @property
    def dicomweb_url(self) -> str:
        """The base of its DICOMweb services, below which is `/studies`."""
        return f"{self.url}/datastore/{self._datastore_id}"

    def set_throttle(self, operation: str, rate: Rate | None) -> None:
        """Give one operation another rate and a full bucket; None: no limit."""
        self._gate.set_rate(operation, rate)

    def throttle_all(self, duration_s: float = float("inf")) -> None:
        """Answer 429 to everything, for a while or until `end_throttling`."""
        self._gate.shut(None, duration_s)

    def throttle_operation(self, operation: str, duration_s: float = float("inf")) -> None:
        """Answer 429 to one operation, for a while or until `end_throttling`."""
        self._gate.shut(operation, duration_s)

    def end_throttling(self, operation: str | None = None) -> None:
        """End what `throttle_operation` began, or with None what `throttle_all` began."""
        self._gate.open(operation)

    def _compose(self, stack: ExitStack, segment: Segment) -> None:
        arn = (
            f"arn:aws:medical-imaging:{self._region}:{self._account_id}"
            f":datastore/{self._datastore_id}"
        )
        self._datastore = DataStore(self._datastore_id, arn, self._clock())
        self._archive = Archive()
        self._notices = Notices(
            events=self._events,
            event_bus_name=self._event_bus_name,
            datastore_arn=arn,
            image_set_key=self._imageset_key,
            output_uri=self._settings.event_output_uri,
            clock=self._clock,
        )
        imports = stack.enter_context(
            Imports(
                s3=self._s3,
                archive=self._archive,
                segment=segment,
                notices=self._notices,
                studies_url=f"{self.dicomweb_url}/studies",
                settings=self._settings.imports,
                clock=self._clock,
            )
        )
        native = Native(
            datastore=self._datastore,
            archive=self._archive,
            segment=segment,
            notices=self._notices,
            processing=self.processing,
            clock=self._clock,
            search_pairs=self._settings.search_pairs,
            frame_size=self._settings.frame_size,
            delete=self._delete_later,
        )
        wado = Wado(self._archive, segment)
        qido = Qido(self._archive, segment, f"{self.dicomweb_url}/studies")
        jobs = NativeJobs(self._datastore, imports)
        stow = Stow(
            self._archive, segment, self._notices, f"{self.dicomweb_url}/studies", self._clock
        )
        self._operations = operations_of(jobs, native, wado, qido, stow)

    def _answer(self, request: Request) -> Response:
        if request.method == "OPTIONS":
            return Response(status=204, headers=_CORS)
        operation = "unknown"
        is_dicomweb = False
        try:
            found = match(request)
            operation = found.operation
            is_dicomweb = found.surface == "dicomweb"
            response = self._perform(found, request)
        except ServiceError as error:
            response = error_response(error)
        self.request_log.add(operation, response.status)
        return replace(response, headers={**response.headers, **_CORS}) if is_dicomweb else response

    def _perform(self, found: Match, request: Request) -> Response:
        self._authorize(found, request)
        if not self._gate.admits(found.operation):
            raise ServiceError("ThrottlingException", "Rate exceeded")
        datastore_id = found.parameters.get("datastore_id")
        if datastore_id is not None:
            self._datastore.check(datastore_id)
        return self._operations[found.operation](Call(request, found.parameters))

    def _authorize(self, found: Match, request: Request) -> None:
        bearer = request.headers.get("authorization", "")[:7].lower() == "bearer "
        if not bearer:
            self._verifier.verify(request, self._clock())
        elif found.surface == "dicomweb":
            self._guard.check(request, found.operation)
        else:
            raise ServiceError("AccessDeniedException", "Native operations take signatures only")

    def _delete_later(self, image_set_id: str) -> None:
        thread = threading.Thread(target=self._finish_deletion, args=(image_set_id,))
        self._deletions.append(thread)
        thread.start()

    def _finish_deletion(self, image_set_id: str) -> None:
        self._closing.wait(self._settings.delete_s)
        deleted = self._archive.finish_delete(image_set_id, self._clock())
        self._notices.image_set_changed(deleted)

    def _finish_deletions(self) -> None:
        for thread in self._deletions:
            thread.join()
