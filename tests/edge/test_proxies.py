"""Behind a proxy of ours the audit speaks of the reader; nobody else's word is taken for it."""

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from teleprefetch.edge.http.proxies import Proxies
from tests.edge.doors import bearer, token
from tests.edge.fakes_for_node import pointer
from tests.edge.served import FRAME, Client, hold

OURS = Proxies([ipaddress.ip_network("10.71.0.0/16"), ipaddress.ip_network("fd00::/8")])
BALANCER, READER = "10.71.16.9", "198.51.100.7"


def said(*addresses: str) -> dict[str, str]:
    return {"x-forwarded-for": ", ".join(addresses)} if addresses else {}


@pytest.mark.parametrize(
    ("peer", "forwarded", "client"),
    [
        (BALANCER, [READER], READER),
        (BALANCER, ["203.0.113.5", READER], READER),  # the first is the reader's own word
        (BALANCER, [READER, "10.71.32.1"], READER),  # two of ours in a row
        (BALANCER, ["2001:DB8::1"], "2001:db8::1"),
        (BALANCER, [f"{READER}:5012"], READER),
        (BALANCER, ["[2001:db8::1]:443"], "2001:db8::1"),
        ("fd00::1", [READER], READER),
        (BALANCER, [], BALANCER),
        (BALANCER, [READER, "unknown"], BALANCER),
        (BALANCER, ["fe80::1%anything at all"], BALANCER),
        (BALANCER, ["10.71.32.1"], "10.71.32.1"),
        (READER, ["10.71.16.9"], READER),
        (READER, ["127.0.0.1"], READER),
    ],
)
def test_the_last_who_is_not_ours_is_who_asks(peer: str, forwarded: list[str], client: str) -> None:
    assert OURS.client_of(peer, said(*forwarded)) == client


@given(peer=st.ip_addresses().map(str), text=st.text(max_size=200))
def test_without_proxies_nothing_that_is_said_counts(peer: str, text: str) -> None:
    assert Proxies().client_of(peer, {"x-forwarded-for": text}) == peer


@given(text=st.text(max_size=200))
def test_whatever_is_said_an_address_comes_of_it(text: str) -> None:
    client = OURS.client_of(BALANCER, {"x-forwarded-for": text})

    assert str(ipaddress.ip_address(client)) == client


@pytest.mark.parametrize(("networks", "named"), [(["127.0.0.0/8"], READER), ([], "127.0.0.1")])
def test_the_audit_names_the_reader_behind_a_proxy_that_is_trusted(
    serve_store, board, door, store, networks, named
):
    hold(store, pointer(), 3)
    proxies = Proxies(map(ipaddress.ip_network, networks))
    server = serve_store(doorway=door.doorway, board=board, proxies=proxies)
    client = Client(server.port)

    for _ in range(2):  # the second is from memory
        assert client(FRAME, X_Forwarded_For=READER, **bearer(token())).status == 200

    client.close()
    assert [one.client for one in door.records("served")] == [named, named]
