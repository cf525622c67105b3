"""What an operator may set, validated before anything runs."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Annotated, Final, Literal, Self
from urllib.parse import urlsplit

from pydantic import (
    AfterValidator,
    Field,
    IPvAnyNetwork,
    Json,
    StringConstraints,
    ValidationInfo,
    field_validator,
    model_validator,
)

from teleprefetch.errors import InvalidPayloadError
from teleprefetch.model import AnyValue, OriginId, Priority, Slug, Value


def _plain_url(url: str) -> str:
    parts = urlsplit(url)
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise ValueError("not an http or https address")
    if parts.username or parts.password or parts.query or parts.fragment:
        raise ValueError("may hold no credentials, query or fragment")
    return url.rstrip("/")


def _origin(url: str) -> str:
    """As browsers write it (HTML standard, "ASCII serialization of an origin")."""
    parts = urlsplit(url)
    usual_port = {"http": 80, "https": 443}.get(parts.scheme)
    if url != f"{parts.scheme}://{parts.netloc}".lower() or not url.isascii():
        raise ValueError("not an origin: scheme, host and port alone, in small letters")
    if parts.port is not None and parts.port == usual_port:
        raise ValueError("not an origin as browsers write it: it names the usual port")
    return url


BaseUrl = Annotated[str, AfterValidator(_plain_url)]
WebOrigin = Annotated[BaseUrl, AfterValidator(_origin)]
# CloudWatch's own characters (API reference, "PutMetricData"), without spaces
MetricsNamespace = Annotated[
    str, StringConstraints(pattern=r"^([A-Za-z0-9_./#-][A-Za-z0-9_./#:-]*)?$", max_length=255)
]
ViewerPath = Annotated[str, StringConstraints(pattern=r"^/[a-z0-9-]+$", max_length=64)]


class HealthImagingOrigin(Value):
    """A HealthImaging data store; the id of the origin is the data store's id.

    `dicomweb_url` is the service's address, without the data store; None means the service's own
    in `region`. `misses_as` is in whose name a node asks for what a reader misses: its own, or the
    reader's, with the reader's bearer token; the data store then decides as well.
    """

    kind: Literal["healthimaging"]
    region: str = "us-east-1"
    dicomweb_url: BaseUrl | None = None
    misses_as: Literal["node", "reader"] = "node"


class DicomwebOrigin(Value):
    """Any other archive that speaks QIDO-RS and WADO-RS below `url`; `misses_as` as above."""

    kind: Literal["dicomweb"]
    url: BaseUrl
    misses_as: Literal["node", "reader"] = "node"


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


class GateRule(Value):
    """How a site lets the notices of one priority wait; None leaves it to the default.

    `deadline_s` counts from the assignment; 0 sends the notice at once, and warming goes on after
    it. `required_priors` is how many priors, by rank, must be proven beside the current study for
    the notice to say warm; by default all that are planned.
    """

    deadline_s: int | None = Field(default=None, ge=0)
    required_priors: int | None = Field(default=None, ge=0)


class Gate(Value):
    """When notices go out: the site's rules by priority, and the deadline where there is none."""

    default_deadline_s: int = Field(ge=0)
    rules: dict[Priority, GateRule] = Field(default_factory=dict)

    def deadline_at(
        self, priority: Priority, *, begun_at: datetime, given: datetime | None
    ) -> datetime:
        """When a notice goes out at the latest: the sooner of the rule's and the assignment's own.

        Args:
            priority: the assignment's.
            begun_at: when it was assigned.
            given: the deadline that the assignment names itself, if it does.
        """
        rule = self.rules.get(priority, GateRule())
        seconds = rule.deadline_s
        if seconds is None:
            seconds = self.default_deadline_s if given is None else None
        by_rule = [] if seconds is None else [begun_at + timedelta(seconds=seconds)]
        return min([*by_rule, *([] if given is None else [given])])

    def required_priors(self, priority: Priority) -> int | None:
        """How many priors must be proven; None means all that are planned."""
        return self.rules.get(priority, GateRule()).required_priors


STAT_AT_ONCE: Final[dict[Priority, GateRule]] = {"stat": GateRule(deadline_s=0)}


class PipelineSettings(Value):
    """The settings of the functions; each field is an environment variable of that name.

    `gate_rules` are the site's by priority. `viewer_url` is where a notice's links lead; empty
    means no link. `lookup_key_id` is the KMS key of accession numbers and patients; empty records
    neither. `node_urls` is where operators reach nodes, which the functions never do.
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
    assignment_machine_arn: str = ""
    sweep_window_hours: int = Field(gt=0)
    import_locations: Json[tuple[Slug, ...]]
    budget_bytes: int = Field(gt=0)
    assignment_deadline_s: int = Field(gt=0)
    gate_rules: Json[dict[Priority, GateRule]] = Field(default=STAT_AT_ONCE)
    viewer_url: BaseUrl | None = None
    lookup_key_id: str = ""
    node_urls: Json[dict[Slug, BaseUrl]] = Field(default_factory=dict)
    give_up_after_s: int = Field(gt=0)
    historical_after_days: int = Field(ge=0)
    reading_days: int = Field(gt=0)
    site_rules: str = ""
    records_kept_days: int = Field(gt=0)

    @field_validator("import_locations")
    @classmethod
    def _every_location_is_known(
        cls, import_locations: tuple[str, ...], given: ValidationInfo
    ) -> tuple[str, ...]:
        routing = given.data.get("routing")  # lacks where it is wrong itself, which is told then
        for number, location in enumerate(import_locations, start=1):
            if isinstance(routing, Routing) and location not in routing.locations:
                raise ValueError(f"location {number} of the list is not in ROUTING.locations")
        return import_locations

    @property
    def gate(self) -> Gate:
        """When notices go out."""
        return Gate(default_deadline_s=self.assignment_deadline_s, rules=self.gate_rules)


class ViewerLogin(Value):
    """How a viewer has its readers logged in: OpenID Connect's code flow with PKCE.

    `resource` is asked for where a provider wants one named (RFC 8707). `origins` are further
    ones that the viewer must reach, such as a token endpoint that is not at the authority's. The
    paths are the viewer's own; the provider knows them as its client's.
    """

    authority: BaseUrl
    client_id: str = Field(min_length=1)
    scope: str = "openid profile offline_access"
    resource: str = ""
    origins: tuple[BaseUrl, ...] = ()
    redirect_path: ViewerPath = "/callback"
    after_logout_path: ViewerPath = "/logged-out"


class RateLimit(Value):
    """Requests a second in the long run, and how many may come at once."""

    per_second: float = Field(gt=0)
    burst: int = Field(gt=0)


class NodeSettings(Value):
    """The settings of a node; each field is an environment variable of that name.

    `quotas` are those of the account's operations that are not HealthImaging's defaults;
    `quota_readers_share` is the part of each that warming leaves to readers. Caps are in US
    dollars, 0 is none: for what one order may cost, and for an archive's orders of a day.

    `origin_patience_s` is how long one frame or one series' metadata is asked for again while an
    archive throttles or is away. `viewer_path` is a folder of static files to serve beside the
    studies, on the same origin, and `viewer_login` has its readers logged in. `viewer_origins` are
    those of viewers elsewhere, whose pages may read answers. `token_issuers` is read by
    `token_settings`; empty refuses every token. `policies_path` empty means the shipped policies,
    `audit_path` the folder `audit` of the store, `audit_key_path` a key that is made there, and
    `audit_checkpoints` nowhere else. `metrics_namespace` has the node write metrics to its log,
    where CloudWatch reads them; empty writes none.
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
    fetch_concurrency: int = Field(default=128, gt=0, le=256)
    heartbeat_s: float = Field(default=10, gt=0)
    visibility_s: int = Field(default=30, gt=0)
    origin_patience_s: float = Field(default=300, gt=0)
    quotas: Json[dict[str, RateLimit]] = Field(default_factory=dict)
    quota_readers_share: float = Field(default=0.2, ge=0, le=0.9)
    study_cost_cap_usd: float = Field(default=0, ge=0)
    daily_cost_cap_usd: float = Field(default=0, ge=0)
    verify_pixels: bool = True
    server_processes: int = Field(default=1, gt=0, le=64)
    tls_certificate_path: str = ""
    tls_key_path: str = ""
    viewer_path: str = ""
    viewer_login: Json[ViewerLogin] | None = None
    viewer_origins: Json[tuple[WebOrigin, ...]] = ()
    token_issuers: str = ""
    policies_path: str = ""
    reading_locations: Json[tuple[Slug, ...]] = ()
    trusted_proxies: Json[tuple[IPvAnyNetwork, ...]] = ()
    role_groups: Json[dict[str, dict[str, Literal["reader", "operator"]]]] = Field(
        default_factory=dict
    )
    audit_path: str = ""
    audit_on_full: Literal["deny", "emergency-allow"] = "deny"
    audit_key_path: str = ""
    audit_checkpoints: str = ""
    audit_retain_days: int = Field(default=2557, gt=0)
    metrics_namespace: MetricsNamespace = ""


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
