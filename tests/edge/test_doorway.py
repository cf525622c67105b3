"""The doorway over HTTP: tokens, emergencies, caps, searches, and what was granted before."""

import json

import pytest

from teleprefetch.domain.tokens.refusal import Reason, TokenRefusedError
from teleprefetch.errors import StudyNotFoundError
from tests.edge.doors import bearer, reading, token
from tests.edge.fakes_for_node import ORIGIN, content, eventually, pointer
from tests.edge.served import FRAME, SERIES, Client, Raw, hold
from tests.edge.test_server_memory import until_remembered
from tests.edge.test_server_misses import FakeMisses
from tests.token_making import HeldKeys

OTHERS = "/dicom-web/studies/1.2.5/series/1.2.5.1/instances/1.2.5.1.1/frames/1"
IMAGE = {"Accept": "image/jphc"}


@pytest.fixture
def serve(serve_store, board):
    clients = []

    def start(door, **options):
        client = Client(serve_store(doorway=door.doorway, board=board, **options).port)
        clients.append(client)
        return client

    yield start
    for client in clients:
        client.close()


@pytest.fixture
def ask(serve, door, store):
    hold(store, pointer(), 3)
    return serve(door)


class NoKeys:
    """An issuer that is away, and whose keys were never had."""

    def find(self, issuer, key_id, *, wait_s):
        raise TokenRefusedError(Reason.KEYS_UNAVAILABLE)

    def generation(self):
        return 0


def test_a_missing_token_is_challenged_and_a_bad_one_told_to_be_bad(ask, door):
    missing = ask(FRAME)
    assert missing.status == 401
    assert missing.headers["WWW-Authenticate"] == 'Bearer realm="teleprefetch"'
    bad = ask(FRAME, **bearer(token()[:-8] + "AAAAAAAA"))
    assert bad.status == 401
    assert 'error="invalid_token"' in bad.headers["WWW-Authenticate"]
    assert [record.reason for record in door.records()] == ["no token", "signature wrong"]
    assert [record.status for record in door.records()] == [401, 401]
    assert all(record.study == "1.2.1" and record.action == "frames" for record in door.records())
    assert bad.content == missing.content


@pytest.mark.parametrize("name", ["access_token", "token", "id_token", "anything"])
def test_a_token_in_the_address_is_refused_whoever_else_sends_one(ask, door, name):
    answer = ask(f"{FRAME}?{name}={token()}", **bearer(token()))
    assert answer.status == 401
    assert [record.reason for record in door.records()] == ["token in the address"]


def test_two_tokens_are_refused(ask, door):
    with Raw(ask.connection.port) as client:
        head = f"Authorization: Bearer {token()}\r\n"
        heard = client.say(f"GET {FRAME} HTTP/1.1\r\nHost: node\r\n{head}{head}\r\n").hear_all()
    assert heard.startswith(b"HTTP/1.1 400 ")
    both = {"Authorization": f"Bearer {token()}, Bearer {token()}"}
    assert ask(FRAME, **both).status == 401


def test_without_any_keys_the_node_says_when_to_come_again(open_door, serve):
    door = open_door(keys=NoKeys())
    answer = serve(door)(FRAME, **bearer(token()))
    assert (answer.status, answer.headers["Retry-After"]) == (503, "5")
    (record,) = door.records()
    assert (record.status, record.reason) == (503, "keys not available")


def test_an_address_that_is_refused_again_and_again_is_slowed_down_and_counted(
    open_door, serve, store
):
    hold(store, pointer(), 3)
    door = open_door(at_most=3)
    ask = serve(door)
    statuses = [ask(FRAME).status for _ in range(8)]
    assert statuses == [401] * 3 + [429] * 5
    assert 0 < int(ask(FRAME).headers["Retry-After"]) <= 60
    assert ask(FRAME, **bearer(token())).status == 200  # who has a token is let in
    assert len(door.records("refused")) == 3
    door.turnstile_s[0] = 61
    door.doorway.sweep()
    folded = door.records("refused")[3:]
    assert [(one.status, dict(one.detail), one.client) for one in folded] == [
        (429, {"count": 6}, "127.0.0.1")
    ]
    assert ask(FRAME).status == 401
    door.doorway.sweep()
    assert len(door.records("refused")) == 5


def test_an_emergency_needs_a_reason_of_plain_text(ask, door):
    unassigned = bearer(token("reader-2"))
    assert ask(FRAME, **unassigned, **{"X-Break-Glass": "x" * 201}).status == 400
    assert ask(FRAME, **unassigned, **{"X-Break-Glass": "a\tb"}).status == 400
    reason = "Notfall, Hämatothorax".encode().decode("latin-1")
    assert ask(FRAME, **unassigned, **{"X-Break-Glass": reason}).status == 200
    told = door.records("break-glass")
    assert [(one.reason, one.policies) for one in told] == [
        ("Notfall, Hämatothorax", ("break-glass",))
    ]
    assert ask(FRAME, **unassigned).status == 404


def test_what_is_remembered_for_one_reader_is_given_to_nobody_else(ask, door, board):
    until_remembered(ask, board, FRAME, **IMAGE, **bearer(token()))
    mine = (bearer(token()), 200)
    others = [
        mine,
        ({}, 401),
        mine,
        (bearer(token("reader-2")), 404),
        (bearer(token(exp={"now": -1})), 401),
        mine,
        (bearer(token("op-1", groups=["operators"])), 404),
    ]
    for headers, status in others:  # each several times: the second has the headers of the first
        assert [ask(FRAME, **IMAGE, **headers).status for _ in range(3)] == [status] * 3


def test_a_token_that_ends_is_not_believed_from_memory_either(ask, board):
    short = bearer(token(exp={"now": 2}))
    until_remembered(ask, board, FRAME, **IMAGE, **short)
    eventually(lambda: ask(FRAME, **IMAGE, **short).status == 401)


def test_a_key_that_is_taken_out_ends_what_it_signed(open_door, serve, store, board):
    hold(store, pointer(), 3)
    door = open_door(keys=HeldKeys())
    ask, mine = serve(door), bearer(token())
    until_remembered(ask, board, FRAME, **IMAGE, **mine)
    door.keys.keys = {}
    door.keys.now_generation += 1
    eventually(lambda: ask(FRAME, **IMAGE, **mine).status == 401)


def test_an_assignment_that_is_taken_back_ends_what_it_allowed(ask, door, board):
    mine = bearer(token())
    until_remembered(ask, board, FRAME, **IMAGE, **mine)
    door.readings.withdraw("A-1.2.1")
    eventually(lambda: ask(FRAME, **IMAGE, **mine).status == 404, within_s=1)


def test_a_study_of_another_is_never_asked_of_the_archive(open_door, serve, store):
    door = open_door()
    misses = FakeMisses(store)
    ask = serve(door, misses=misses)
    others = bearer(token("reader-2"))
    assert ask(FRAME, **others).status == 404
    assert ask(f"{SERIES}/metadata", **others).status == 404
    assert ask("/dicom-web/studies?StudyInstanceUID=1.2.1", **others).status == 204
    assert misses.asked == []
    assert ask(FRAME, **IMAGE, **bearer(token())).content == content(2)
    (record,) = door.records("served")[-1:]
    assert (record.source, record.status) == ("origin", 200)
    assert record.image_set == pointer().image_set_id


def test_a_study_that_nobody_holds_is_answered_as_one_that_is_refused(open_door, serve, store):
    door = open_door()
    door.readings.put(reading("1.2.4"))
    misses = FakeMisses(store)
    misses.before = nowhere
    ask = serve(door, misses=misses)
    path = "/dicom-web/studies/1.2.4/series/1.2.4.1/instances/1.2.4.1.1/frames/1"
    answers = [ask(path, **bearer(token(who))) for who in ("reader-1", "reader-2")]
    assert answers[0].status == answers[1].status == 404
    assert answers[0].content == answers[1].content
    assert answers[0].headers.keys() == answers[1].headers.keys()


def nowhere():
    raise StudyNotFoundError("study: in no archive")


def test_a_search_finds_what_is_assigned_and_nothing_else(ask, door, store):
    hold(store, pointer(5), 1)
    hold(store, pointer(6), 1)
    door.readings.put(reading("1.2.1", priors=("1.2.5",)))

    def found(path, who):
        answer = ask(path, **bearer(who))
        return [] if answer.status == 204 else ask_json(answer)

    assert found("/dicom-web/studies", token()) == ["1.2.1", "1.2.5"]
    assert found("/dicom-web/series", token()) == ["1.2.1", "1.2.5"]
    assert found("/dicom-web/studies?PatientID=P1", token()) == ["1.2.1", "1.2.5"]
    assert found("/dicom-web/studies?StudyInstanceUID=1.2.6", token()) == []
    assert found("/dicom-web/studies", token("reader-2")) == []
    assert found("/dicom-web/studies", token("op", groups=["operators"])) == []
    told = door.records("served")
    assert told[0].policies == ("assigned", "prior-of-assigned")
    assert {record.action for record in told} == {"search"}


def ask_json(answer):
    return sorted({one["0020000D"]["Value"][0] for one in json.loads(answer.content)})


def test_policies_are_read_again_when_they_change_and_bad_ones_change_nothing(
    open_door, serve, store, tmp_path
):
    hold(store, pointer(), 3)
    folder = tmp_path / "policies"
    folder.mkdir()
    file = folder / "site.cedar"
    file.write_text('@id("nobody") forbid (principal, action, resource);')
    door = open_door(policies=folder)
    ask, mine = serve(door), bearer(token())
    assert ask(FRAME, **mine).status == 404
    file.write_text('@id("all") permit (principal, action in Action::"read", resource);')
    eventually(lambda: ask(FRAME, **mine).status == 200)
    file.write_text("permit nonsense")
    eventually(lambda: door.records("policy-refused"))
    assert ask(FRAME, **mine).status == 200
    (changed,) = door.records("policy-changed")
    (refused,) = door.records("policy-refused")
    assert changed.policy_set == refused.policy_set == door.gate.policy_set
    assert "site.cedar:1" in refused.reason


def test_metrics_are_for_this_machine_and_for_operators(ask, door):
    assert ask("/metrics").status == 200
    assert door.records() == []
    through_proxy = {"X-Forwarded-For": "10.0.0.1"}
    assert ask("/metrics", **through_proxy).status == 401
    assert ask("/metrics", **through_proxy, **bearer(token())).status == 403
    operator = bearer(token("op", groups=["operators"]))
    assert ask("/metrics", **through_proxy, **operator).status == 200


def test_a_purge_is_no_reason_to_serve_what_is_left_in_memory(ask, store, board):
    mine = bearer(token())
    until_remembered(ask, board, FRAME, **IMAGE, **mine)
    store.purge(ORIGIN, pointer().image_set_id)
    assert ask(FRAME, **IMAGE, **mine).status == 404
