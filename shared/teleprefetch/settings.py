"""What an operator may set, validated before anything runs."""

from collections.abc import Mapping
from typing import Annotated, Literal, Self
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, Json, model_validator

from teleprefetch.errors import InvalidPayloadError
from teleprefetch.model import AnyValue, OriginId, Slug, Value


def _plain_url(url: str) -> str:
    parts = urlsplit(url)
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise ValueError("not an http or https address")
    if parts.username or parts.password or parts.query or parts.fragment:
        raise ValueError("may hold no credentials, query or fragment")
    return url.rstrip("/")


BaseUrl = Annotated[str, AfterValidator(_plain_url)]


class HealthImagingOrigin(Value):
    """A HealthImaging data store; the id of the origin is the data store's id.

    `dicomweb_url` is the service's address, without the data store; None means the service's own
    in `region`.
    """

    kind: Literal["healthimaging"]
    region: str = "us-east-1"
    dicomweb_url: BaseUrl | None = None


class DicomwebOrigin(Value):
    """Any other archive that speaks QIDO-RS and WADO-RS below `url`."""

    kind: Literal["dicomweb"]
    url: BaseUrl


OriginSettings = Annotated[HealthImagingOrigin | DicomwebOrigin, Field(discriminator="kind")]


class Routing(Value):
    """Which nodes stand beside which reading location, and where their orders go."""

    nodes: dict[Slug, BaseUrl] = Field(min_length=1)
    locations: dict[Slug, tuple[Slug, ...]] = Field(min_length=1)

    @model_validator(mode="after")
    def _every_node_is_known(self) -> Self:
        for location, nodes in self.locations.items():
            if not nodes:
                raise ValueError(f"location {location} has no node")
            for node in nodes:
                if node not in self.nodes:
                    raise ValueError(f"location {location} names node {node}, which is not listed")
        return self

    def nodes_of(self, reading_location: str) -> tuple[str, ...]:
        """The nodes beside a reading location.

        Raises:
            InvalidPayloadError: the location is not in the routing.
        """
        try:
            return self.locations[reading_location]
        except KeyError:
            raise InvalidPayloadError("reading_location: not in ROUTING.locations") from None


class PipelineSettings(Value):
    """The settings of the functions; each field is an environment variable of that name.

    `site_rules` is TOML (`domain.rules`) and read when a function first ranks or plans, which most
    never do; empty means the shipped rules.
    """

    origins: Json[dict[OriginId, OriginSettings]]
    routing: Json[Routing]
    table_name: str
    documents_bucket: str
    event_bus_name: str
    prefetch_machine_arn: str = ""
    import_machine_arn: str = ""
    sweep_window_hours: int = Field(gt=0)
    import_locations: Json[tuple[Slug, ...]]
    budget_bytes: int = Field(gt=0)
    assignment_deadline_s: int = Field(gt=0)
    give_up_after_s: int = Field(gt=0)
    historical_after_days: int = Field(ge=0)
    reading_days: int = Field(gt=0)
    site_rules: str = ""
    records_kept_days: int = Field(gt=0)


class NodeSettings(Value):
    """The settings of a node; each field is an environment variable of that name.

    `origin_patience_s` is how long one frame or one series' metadata is asked for again while an
    archive throttles or is away. `viewer_path` is a folder of static files to serve beside the
    studies, on the same origin.
    """

    node: Slug
    queue_url: BaseUrl
    origins: Json[dict[OriginId, OriginSettings]]
    table_name: str
    records_kept_days: int = Field(default=90, gt=0)
    store_path: str
    store_bytes: int = Field(gt=0)
    host: str = "127.0.0.1"
    port: int = Field(default=8080, ge=0, le=65535)
    fetch_concurrency: int = Field(default=16, gt=0, le=256)
    heartbeat_s: float = Field(default=10, gt=0)
    visibility_s: int = Field(default=30, gt=0)
    origin_patience_s: float = Field(default=300, gt=0)
    verify_pixels: bool = True
    server_processes: int = Field(default=1, gt=0, le=64)
    tls_certificate_path: str = ""
    tls_key_path: str = ""
    viewer_path: str = ""


def from_environment(kind: type[AnyValue], environment: Mapping[str, str]) -> AnyValue:
    """Read settings: each field of `kind` is the variable of that name in capitals.

    Raises:
        InvalidPayloadError: a variable is missing or breaks its contract; the message names it.
    """
    given = {
        name: environment[name.upper()]
        for name in kind.model_fields
        if environment.get(name.upper(), "") != ""
    }
    return kind.parse(given, at="settings")
