"""A real doorway for tests: real tokens, real policies, a reading list and an audit on disk."""

import time
from datetime import timedelta

from teleprefetch.domain.policy.readings import AssignedTo, Reading
from teleprefetch.domain.tokens.verifier import Verifier
from teleprefetch.edge.access.doorway import NodeDoorway
from teleprefetch.edge.access.identifying import Identifying
from teleprefetch.edge.access.policies import PolicyWatch
from teleprefetch.edge.access.turnstile import Turnstile
from teleprefetch.edge.audit.lane import Lane
from teleprefetch.edge.audit.log import AuditLog, now
from teleprefetch.edge.audit.reading import entries
from teleprefetch.edge.policy.engine import CedarPolicies
from teleprefetch.edge.policy.files import DEFAULT_FOLDER, read_policies
from teleprefetch.edge.policy.gatekeeper import Gatekeeper
from teleprefetch.edge.policy.reading_list import ReadingList
from tests.edge.fakes_for_node import ORIGIN
from tests.token_making import ISSUER, RULES, HeldKeys, make

ROLE_GROUPS = {ISSUER: {"readers": "reader", "operators": "operator"}}
LANE = "serve-0"


def token(subject="reader-1", *, groups=("readers",), site="home", **changes):
    """A good token of now, unless `changes` say otherwise."""
    claims = {"sub": subject, "groups": list(groups), "site": site, "jti": f"t-{subject}"}
    return make({"claims": claims | changes}, now_s=int(time.time()))


def bearer(text):
    return {"Authorization": f"Bearer {text}"} if text else {}


def reading(study="1.2.1", *, to="reader-1", priors=(), **changes):
    fields = {
        "assignment_id": f"A-{study}",
        "prefetch_id": f"assigned-{study}",
        "origin_id": ORIGIN,
        "reading_location": "home",
        "study_instance_uid": study,
        "priors": priors,
        "assigned_to": AssignedTo(issuer=ISSUER, subject=to),
        "patient": "c" * 40,
        "ends_at": now() + timedelta(days=1),
    }
    return Reading(**fields | changes)


class Door:
    """A doorway with all it stands on, below one folder."""

    def __init__(self, folder, *, keys=None, policies=DEFAULT_FOLDER, on_full="deny", at_most=1000):
        self.folder = folder / "audit"
        self.keys = keys or HeldKeys()
        self.readings = ReadingList(folder / "readings.sqlite")
        self.log = AuditLog(Lane(self.folder, node="n1", name=LANE), on_full=on_full)
        self.gate = Gatekeeper(
            CedarPolicies(read_policies(policies)),
            readings=self.readings,
            node="n1",
            locations=("home",),
        )
        self.watch = PolicyWatch(policies, gate=self.gate, log=self.log)
        self.turnstile_s = [0.0]
        self.doorway = NodeDoorway(
            Identifying(
                Verifier([RULES], self.keys),
                generation=self.keys.generation,
                role_groups=ROLE_GROUPS,
            ),
            gate=self.gate,
            log=self.log,
            turnstile=Turnstile(at_most=at_most, timer=lambda: self.turnstile_s[0]),
            at_sweep=self.watch.look,
        )

    def records(self, *kinds):
        """What was recorded of requests so far, in order; or of these kinds."""
        told = [entry.event for entry in entries(self.folder)]
        wanted = kinds or ("served", "break-glass", "refused")
        return [event for event in told if event.kind in wanted]

    def close(self):
        self.doorway.flush()
        self.log.close()
        self.readings.close()
