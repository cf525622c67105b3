"""The status page: what is warm, for whom, how full; true, and with nothing of a patient."""

import base64
import hashlib
import json
from dataclasses import dataclass
from datetime import UTC, datetime
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from teleprefetch.edge.dicomweb.messages import Request
from teleprefetch.edge.pages.status_page import StatusPage
from teleprefetch.edge.watching.recent import RecentOrders, read_recent
from teleprefetch.edge.watching.status import Served, StatusSource, digest_of
from teleprefetch.model import ReportState, SeriesPointer, StudyWarmth, WarmReport
from tests.fakes import MemoryProgress

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)
CURRENT, PRIOR, OTHER = "1.2.826.11111111", "1.2.826.22222222", "1.2.826.33333333"
PERSONAL = ("Doe^Jane", "98890234", "19600101", "CT CHEST W CONTRAST", "ACC-77")


@dataclass(frozen=True)
class Row:
    """What a status reads of a series that is held."""

    series: SeriesPointer
    stored_at: float
    attributes: dict[str, Any]
    origin_id: str = "archive"
    segment_bytes: int = 2_000_000


class Stored:
    """Three series of two studies, and one of a third that no order named."""

    def rows(self) -> list[Row]:
        return [
            _row(OTHER, "4", "MR", 10.0),
            _row(PRIOR, "3", "CT", 20.0),
            _row(CURRENT, "1", "CT", 30.0),
            _row(CURRENT, "2", "SR", 40.0),
        ]

    def counts(self, row: Row) -> tuple[int, int]:
        return (10, 7) if row.series.study_instance_uid == PRIOR else (10, 10)

    def used_bytes(self) -> int:
        return 1_500_000_000


class Tags(HTMLParser):
    """What a page is made of."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.seen: list[tuple[str, dict[str, str | None]]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append((tag, dict(attrs)))


def _row(study: str, series: str, modality: str, stored_at: float) -> Row:
    texts = dict(
        zip(("00100010", "00100020", "00100030", "00081030", "00080050"), PERSONAL, strict=True)
    )
    return Row(
        series=SeriesPointer(study_instance_uid=study, series_instance_uid=f"1.2.{series}"),
        stored_at=stored_at,
        attributes={
            "00080060": {"vr": "CS", "Value": [modality]},
            **{tag: {"vr": "LO", "Value": [text]} for tag, text in texts.items()},
        },
    )


def report(
    prefetch_id: str = "p-1", *, state: ReportState = "partial", second: int = 0
) -> WarmReport:
    return WarmReport(
        prefetch_id=prefetch_id,
        node="node-a",
        state=state,
        frames_planned=30,
        frames_warmed=27,
        frames_verified=27,
        frames_fetched=20,
        bytes_warmed=9,
        bytes_fetched=8,
        studies=(
            StudyWarmth(
                study_instance_uid=CURRENT, role="current", frames_planned=20, frames_verified=20
            ),
            StudyWarmth(
                study_instance_uid=PRIOR, role="prior", frames_planned=10, frames_verified=7
            ),
        ),
        problems=("time ran out <b>",),
        reported_at=NOW.replace(second=second),
    )


def status_page(
    *, served: Served | None = None, shows_uid_endings: bool = False, reports: int = 1
) -> StatusPage:
    source = StatusSource(
        node="node-a",
        store=Stored(),
        limit_bytes=4_000_000_000,
        served=lambda: served or Served(hits=9, misses=1),
        recent=lambda: (report(),) * reports,
        takes_orders=lambda: True,
        clock=lambda: NOW,
    )
    return StatusPage(source, shows_uid_endings=shows_uid_endings)


def ask(page: StatusPage, path: str, *, client: str = "127.0.0.1", **headers: str) -> str:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    response = page.answer(Request("GET", path, (), named, client))
    assert response is not None
    assert response.status == 200
    assert dict(response.headers)["Cache-Control"] == "no-store"
    [content] = response.body
    assert isinstance(content, bytes)
    return content.decode()


def test_it_tells_what_is_warm_for_whom_and_how_full_the_node_is() -> None:
    status = json.loads(ask(status_page(), "/status.json"))

    assert status["store"] == {
        "used_bytes": 1_500_000_000,
        "limit_bytes": 4_000_000_000,
        "studies": 3,
        "series": 4,
        "share": 0.375,
    }
    assert status["served"] == {"hits": 9, "misses": 1, "hit_rate": 0.9}
    newest, prior, unnamed = status["studies"]
    assert newest["study"] == digest_of(CURRENT)
    assert (newest["role"], newest["order"], newest["series"]) == ("current", "p-1", 2)
    assert (newest["frames_held"], newest["frames_verified"]) == (20, 20)
    assert newest["modalities"] == ["CT", "SR"]
    assert newest["size_bytes"] == 4_000_000
    assert (prior["role"], prior["frames_held"], prior["frames_verified"]) == ("prior", 10, 7)
    assert (unnamed["role"], unnamed["order"]) == (None, None)
    [order] = status["orders"]
    assert (order["order"], order["state"], order["priors"]) == ("p-1", "partial", 1)
    assert order["problems"] == ["time ran out <b>"]


def test_the_page_shows_what_the_json_says() -> None:
    text = ask(status_page(), "/status")

    for shown in (digest_of(CURRENT), digest_of(PRIOR), "p-1", "37.5 %", "90.0 %", "7 of 10",
                  "27 of 30", "partly warm", "takes orders", "CT, SR"):  # fmt: skip
        assert shown in text
    assert "<b>" not in text
    assert "time ran out &lt;b&gt;" in text


@pytest.mark.parametrize("path", ["/status", "/status.json"])
def test_nothing_of_a_patient_and_no_uid_is_told(path: str) -> None:
    text = ask(status_page(), path)

    assert not [word for word in (*PERSONAL, CURRENT, PRIOR, OTHER) if word in text]
    assert CURRENT[-8:] not in text


def test_the_end_of_a_uid_is_for_this_machine_alone_and_only_if_allowed() -> None:
    allowed, ending = status_page(shows_uid_endings=True), CURRENT[-8:]

    assert ending in ask(allowed, "/status")
    assert ending in ask(allowed, "/status.json", client="::1")
    assert ending not in ask(allowed, "/status", client="192.0.2.7")
    assert ending not in ask(allowed, "/status", x_forwarded_for="192.0.2.7")
    assert ending not in ask(status_page(), "/status")


def test_before_the_first_request_there_is_no_hit_rate() -> None:
    page = status_page(served=Served(hits=0, misses=0))

    assert json.loads(ask(page, "/status.json"))["served"]["hit_rate"] is None
    assert "no request yet" in ask(page, "/status")


def test_other_addresses_are_not_its_own() -> None:
    for path in ("/", "/status/", "/status.html", "/dicom-web/studies"):
        assert status_page().answer(Request("GET", path, (), {}, "127.0.0.1")) is None


def test_the_page_needs_nothing_but_itself_and_its_policy_lets_nothing_in() -> None:
    response = status_page().answer(Request("GET", "/status", (), {}, "127.0.0.1"))
    assert response is not None
    text = ask(status_page(), "/status")
    tags = Tags(text).seen

    assert not {"script", "img", "iframe", "link", "object", "form"} & {tag for tag, _ in tags}
    assert not any({"src", "style", "onclick"} & attributes.keys() for _, attributes in tags)
    assert {attributes["href"] for tag, attributes in tags if tag == "a"} == {
        "/status",
        "/status.json",
    }
    assert "url(" not in text
    assert "@import" not in text
    style = text.partition("<style>")[2].partition("</style>")[0]
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    policy = dict(response.headers)["Content-Security-Policy"]
    assert policy.startswith(f"default-src 'none'; style-src 'sha256-{digest}'")


def test_the_page_says_its_language_and_heads_its_tables_for_who_hears_it() -> None:
    tags = Tags(ask(status_page(), "/status")).seen

    assert ("html", {"lang": "en"}) in tags
    headings = [tag for tag, _ in tags if tag in {"h1", "h2", "h3"}]
    assert headings == ["h1", "h2", "h2"]
    tables = [attributes for tag, attributes in tags if tag == "table"]
    assert len(tables) == 2
    assert all(table["aria-label"] for table in tables)
    assert all(attributes["scope"] == "col" for tag, attributes in tags if tag == "th")
    assert all(attributes["aria-label"] for tag, attributes in tags if tag == "svg")


def test_the_last_orders_are_remembered_by_their_last_report(tmp_path: Path) -> None:
    path, passed_on = tmp_path / "orders.json", MemoryProgress()
    recent = RecentOrders(passed_on, path, most=2)

    recent.report(report("p-1", state="warming", second=1))
    recent.report(report("p-2", second=2))
    recent.report(report("p-1", state="warm", second=3))

    assert [(one.prefetch_id, one.state) for one in read_recent(path)] == [
        ("p-1", "warm"),
        ("p-2", "partial"),
    ]
    recent.report(report("p-3", second=4))
    recent.report(report("p-3", state="warming", second=1))  # came late
    assert [(one.prefetch_id, one.state) for one in read_recent(path)] == [
        ("p-3", "partial"),
        ("p-1", "warm"),
    ]
    assert recent.reports("p-2") == passed_on.reports("p-2") != ()


def test_a_damaged_file_of_last_orders_is_begun_anew(tmp_path: Path) -> None:
    path = tmp_path / "orders.json"
    path.write_text('[{"prefetch_id": ')
    recent = RecentOrders(MemoryProgress(), path)

    assert read_recent(path) == ()
    recent.report(report())

    assert read_recent(path) == (report(),)


def test_a_disk_that_takes_no_file_does_not_stop_the_order(tmp_path: Path) -> None:
    passed_on = MemoryProgress()

    RecentOrders(passed_on, tmp_path / "missing" / "orders.json").report(report())

    assert passed_on.reports("p-1") == (report(),)
