"""One suite for the ledger of quotas: DynamoDB (on moto) and the fake do the same."""

import itertools
import time
from collections.abc import Callable, Iterator
from typing import Any

import boto3
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from moto import mock_aws

from teleprefetch.adapters.quota_ledger import DynamoQuotaLedger
from teleprefetch.domain.quota import leased, slowed_down
from teleprefetch.errors import OriginUnavailableError
from teleprefetch.ports import QuotaLedger
from teleprefetch.quotas import Ask, Lease, QuotaState
from tests.fakes import MemoryQuotaLedger

FRAMES = "store#GetImageFrame"
EXAMPLES = itertools.count()


@pytest.fixture(scope="module")
def dynamo() -> Iterator[DynamoQuotaLedger]:
    with mock_aws():
        client = boto3.client("dynamodb", region_name="us-east-1")
        client.create_table(
            TableName="table",
            BillingMode="PAY_PER_REQUEST",
            AttributeDefinitions=[
                {"AttributeName": "pk", "AttributeType": "S"},
                {"AttributeName": "sk", "AttributeType": "S"},
            ],
            KeySchema=[
                {"AttributeName": "pk", "KeyType": "HASH"},
                {"AttributeName": "sk", "KeyType": "RANGE"},
            ],
        )
        yield DynamoQuotaLedger(client, "table")


@pytest.fixture(params=["memory", "aws"])
def ledger(request: pytest.FixtureRequest) -> QuotaLedger:
    if request.param == "memory":
        return MemoryQuotaLedger(date_s=time.time)
    return request.getfixturevalue("dynamo")


@pytest.fixture
def key(request: pytest.FixtureRequest) -> str:
    return f"{request.node.name}#GetImageFrame"


def test_tokens_are_leased_up_to_the_limit_and_no_further(ledger: QuotaLedger, key: str) -> None:
    granted = [ledger.lease(key, Ask(7, tokens=40, limit=100)).granted for _ in range(4)]
    assert granted == [40, 40, 20, 0]
    assert ledger.state(key).state.taken == 100


def test_a_new_window_begins_anew_and_the_old_one_is_over(ledger: QuotaLedger, key: str) -> None:
    ledger.lease(key, Ask(7, tokens=40, limit=100, need=90, readers=3))
    answer = ledger.lease(key, Ask(8, tokens=10, limit=100, need=20, readers=1))
    assert answer.granted == 10
    assert answer.state == QuotaState(
        window=8, taken=10, demand=20, demand_before=90, readers=1, readers_before=3
    )
    assert ledger.lease(key, Ask(7, tokens=1, limit=100)).granted == 0


def test_who_gets_nothing_is_heard_all_the_same(ledger: QuotaLedger, key: str) -> None:
    ledger.lease(key, Ask(1, tokens=10, limit=10, need=10))
    answer = ledger.lease(key, Ask(1, tokens=5, limit=10, need=50, readers=2))
    assert (answer.granted, answer.state.demand, answer.state.readers) == (0, 60, 2)


def test_a_429_slows_all_down_once_in_a_window(ledger: QuotaLedger, key: str) -> None:
    first = ledger.slow_down(key, window=5).state
    assert first.learned == pytest.approx(0.7)
    assert ledger.slow_down(key, window=5).state == first
    assert ledger.slow_down(key, window=4).state == first
    assert ledger.slow_down(key, window=6).state.learned < 0.6


def test_what_was_learned_outlives_the_window(ledger: QuotaLedger, key: str) -> None:
    ledger.slow_down(key, window=5)
    state = ledger.lease(key, Ask(6, tokens=1, limit=10)).state
    assert (state.learned, state.learned_window) == (pytest.approx(0.7), 5)


def test_the_answer_has_the_servers_date(ledger: QuotaLedger, key: str) -> None:
    """moto leaves the header out; DynamoDB's HTTP answers have it, as the next test shows."""
    date_s = ledger.state(key).date_s
    assert date_s is None or abs(date_s - time.time()) < 2


class MeddledTable:
    """Before each write somebody else writes; moto itself is not atomic between threads."""

    def __init__(self, client: Any, meddle: Callable[[], object]) -> None:
        self._client = client
        self.meddle = meddle

    def update_item(self, **request: Any) -> Any:
        self.meddle()
        return self._client.update_item(**request)


@pytest.mark.parametrize("window", [6, 7, 8])
def test_whoever_writes_in_between_no_more_is_leased_than_there_is(
    dynamo: DynamoQuotaLedger, key: str, window: int
) -> None:
    others: list[int] = []

    def meddle() -> None:
        others.append(dynamo.lease(key, Ask(7, tokens=17, limit=50)).granted)

    table = MeddledTable(dynamo._client, meddle)
    ledger = DynamoQuotaLedger(table, "table")  # type: ignore[arg-type]
    mine = ledger.lease(key, Ask(window, tokens=20, limit=50, need=20)).granted
    assert others
    if window == 7:
        assert sum(others) + mine <= 50
    else:
        assert mine == (0 if window < 7 else 20)


asks = st.builds(
    Ask,
    window=st.integers(0, 4),
    tokens=st.integers(0, 30),
    limit=st.integers(1, 50),
    need=st.integers(0, 9),
    readers=st.integers(0, 9),
)
calls = st.lists(st.one_of(asks, st.integers(0, 4)), max_size=12)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(calls)
def test_the_table_does_what_the_domain_says(
    dynamo: DynamoQuotaLedger, calls: list[Ask | int]
) -> None:
    state, key = QuotaState(), f"example {next(EXAMPLES)}#GetImageFrame"
    for call in calls:
        if isinstance(call, Ask):
            state, granted = leased(state, call)
            answer = dynamo.lease(key, call)
        else:
            state, granted = slowed_down(state, call), 0
            answer = dynamo.slow_down(key, window=call)
        assert answer.granted == granted
        assert answer.state.learned == pytest.approx(state.learned, abs=1e-5)
        state = answer.state


def test_a_table_that_does_not_answer_is_an_origin_error() -> None:
    client = boto3.client(
        "dynamodb",
        region_name="us-east-1",
        endpoint_url="http://127.0.0.1:9",
        aws_access_key_id="x",
        aws_secret_access_key="x",
        config=boto3.session.Config(retries={"total_max_attempts": 1}, connect_timeout=1),
    )
    with pytest.raises(OriginUnavailableError):
        DynamoQuotaLedger(client, "table").lease(FRAMES, Ask(1, tokens=1, limit=1))


class DatedTable:
    """The part of boto3's client that is used, with the header as the service sends it."""

    def get_item(self, **_request: object) -> dict[str, object]:
        headers = {"date": "Tue, 24 Nov 2026 12:00:05 GMT"}
        return {"ResponseMetadata": {"HTTPHeaders": headers}}


def test_the_date_header_is_read() -> None:
    answer: Lease = DynamoQuotaLedger(DatedTable(), "table").state(FRAMES)  # type: ignore[arg-type]
    assert answer.date_s == 1795521605.0
