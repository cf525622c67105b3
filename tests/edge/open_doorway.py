"""A doorway that lets everybody in: for tests of what is behind it."""

import time

from teleprefetch.domain.policy.access import Principal
from teleprefetch.edge.access.entries import Admitted, Visitor, Written
from teleprefetch.edge.access.stencil import pieces_of_reader
from teleprefetch.edge.dicomweb.places import Place
from teleprefetch.edge.policy.gatekeeper import Grant

GRANT = Grant(policies=("open",), policy_set="0" * 16)
ANYBODY = Principal(
    issuer="https://idp.example",
    subject="anybody",
    site="home",
    groups=frozenset(),
    roles=frozenset({"reader"}),
    token_id="t-1",
    token_sha256="d" * 64,
    ends_at_s=1e12,
)


class KeptLines:
    """Takes records, and keeps them; `hold` keeps answers back until `let_go`."""

    def __init__(self):
        self.kept = []
        self.waiting = []
        self.hold = False

    def write_now(self, lines):
        if self.hold:
            return False
        self.kept += lines
        return True

    def submit_all(self, lines, done):
        self.kept += lines
        if self.hold:
            self.waiting.append(done)
        else:
            done(None)

    def let_go(self, error=None):
        self.hold = False
        waiting, self.waiting = self.waiting, []
        for done in waiting:
            done(error)


class OpenDoorway:
    """Grants everything to everybody, and records it."""

    def __init__(self):
        self.lines = KeptLines()
        self.sweeps = 0
        self.visitor = Visitor(ANYBODY, "127.0.0.1", "", time.time() + 1e6, 0)

    def known(self, headers, client):
        return self.visitor

    def is_current(self, visitor):
        return True

    def recall(self, visitor, action, study):
        asked = visitor.asked(action, study)
        return Written(asked, GRANT, "served", pieces_of_reader(asked, GRANT))

    def admit(self, request, place: Place):
        if place.action is None:
            return None
        asked = self.visitor.asked(place.action, place.study)
        return Admitted(
            asked,
            GRANT,
            visible=lambda _asked, studies: dict.fromkeys(studies, GRANT),
            policy_set=GRANT.policy_set,
            request_id="",
        )

    def sweep(self):
        self.sweeps += 1
