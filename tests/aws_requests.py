"""What a node asked of AWS, as an IAM policy names it: each action with what it was done to.

A node is a process of its own. It is known by its session token, which its requests carry as a
role's do, and what it asked is read where it arrives.
"""

import contextlib
import io
import json
import re
import threading
from collections.abc import Iterator
from typing import Any, Final
from unittest.mock import patch

from moto.moto_server.werkzeug_app import DomainDispatcherApplication

from teleprefetch.local.healthimaging import service
from teleprefetch.local.healthimaging.routing import Match, match
from teleprefetch.local.healthimaging.wire import Request

SESSION: Final = "a-session-of-the-node"
"""Its `AWS_SESSION_TOKEN`."""
_SCOPE: Final = re.compile(r"Credential=[^/]+/\d{8}/[^/]+/([^/]+)/aws4_request")
_RESOURCE: Final = {"dynamodb": "TableName", "sqs": "QueueUrl"}


class NodeRequests:
    """The actions of a node.

    Args:
        names: the logical id of each table, queue and bucket that has this physical one.
    """

    def __init__(self, names: dict[str, str]) -> None:
        self._names = names
        self._lock = threading.Lock()
        self._made: set[tuple[str, str]] = set()

    def made(self, *, waiters: set[str]) -> set[str]:
        """Each action and what it was done to, such as `s3:GetObject DocumentsBucket`.

        Args:
            waiters: the task tokens of assignments; any other is a prefetch's.
        """
        with self._lock:
            return {
                f"{action} {_machine(token, waiters) if 'SendTask' in action else token}"
                for action, token in self._made
            }

    def note(self, action: str, resource: str) -> None:
        """An action was done to a resource; for a task, the token is the resource."""
        with self._lock:
            self._made.add((action, resource))

    def note_aws(self, environ: dict[str, Any]) -> None:
        """A request came to moto."""
        if environ.get("HTTP_X_AMZ_SECURITY_TOKEN") != SESSION:
            return
        found = _SCOPE.search(environ["HTTP_AUTHORIZATION"])
        assert found is not None
        if found[1] == "s3":
            self._note_s3(environ)
            return
        body = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
        environ["wsgi.input"] = io.BytesIO(body)
        operation = environ["HTTP_X_AMZ_TARGET"].rpartition(".")[2]
        given = json.loads(body)
        resource = given["taskToken"] if found[1] == "states" else self._named(found[1], given)
        self.note(f"{found[1]}:{operation}", resource)

    def _named(self, service_name: str, given: dict[str, Any]) -> str:
        physical = given[_RESOURCE[service_name]].rpartition("/")[2]
        return self._names[physical]

    def _note_s3(self, environ: dict[str, Any]) -> None:
        """By path, query and headers (Amazon S3 API reference, "Actions")."""
        bucket, _, key = environ["PATH_INFO"].lstrip("/").partition("/")
        method, query = environ["REQUEST_METHOD"], environ.get("QUERY_STRING", "")
        asked = (method, bool(key))
        if asked == ("GET", True) and "=" not in query:
            actions = ["GetObject"]
        elif asked == ("PUT", True) and not query:
            locked = "HTTP_X_AMZ_OBJECT_LOCK_MODE" in environ
            actions = ["PutObject", *(["PutObjectRetention"] if locked else [])]
        elif asked == ("GET", False) and "list-type=2" in query:
            actions = ["ListBucket"]
        else:
            actions = [f"unknown ({method} ?{query})"]
        for action in actions:
            self.note(f"s3:{action}", self._names[bucket])


def _machine(token: str, waiters: set[str]) -> str:
    return "AssignmentMachine" if token in waiters else "PrefetchMachine"


@contextlib.contextmanager
def noted(requests: NodeRequests) -> Iterator[None]:
    """While it is entered, what the node asks of AWS and of the data store is noted."""
    dispatch = DomainDispatcherApplication.__call__

    def dispatched(self: Any, environ: dict[str, Any], start_response: Any) -> Any:
        requests.note_aws(environ)
        return dispatch(self, environ, start_response)

    def matched(request: Request) -> Match:
        found = match(request)
        # a HEAD opens a connection and is no operation of HealthImaging's
        is_asked = request.method != "HEAD"
        if is_asked and request.headers.get("x-amz-security-token") == SESSION:
            requests.note(f"medical-imaging:{found.operation}", "datastore")
        return found

    with (
        patch.object(DomainDispatcherApplication, "__call__", dispatched),
        patch.object(service, "match", matched),
    ):
        yield
