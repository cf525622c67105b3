"""An operator of a running stack, with every call to AWS that their commands make.

botocore's own hooks write the calls down; what is asked of the data store is noted where it
arrives, since a command signs some of it itself.
"""

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final
from unittest.mock import patch

from teleprefetch.local.console_process import console_environment
from teleprefetch.local.healthimaging import service
from teleprefetch.local.healthimaging.routing import Match, match
from teleprefetch.local.healthimaging.wire import Request
from tests.e2e.conftest import Site
from tests.policy_uses import AUTHORIZED_AS
from tests.recorded_calls import DATASTORE, VARIABLE, Names, calls_of
from tests.template_policies import Grant

ROOT: Final = Path(__file__).resolve().parents[1]
HOLDER: Final = "OperatorPolicy"
_SESSION: Final = "a-session-of-an-operator"


class RecordedOperator:
    """Runs commands in a process with a session of its own, and knows what they asked."""

    def __init__(self, site: Site, folder: Path) -> None:
        self.site = site
        self.ran: set[str] = set()
        self._of_data_store: set[str] = set()
        self._calls = folder / "calls.jsonl"
        token = folder / "operator.token"
        token.touch(mode=0o600)
        token.write_text(site.stack._operator_token())
        self.environment = (
            os.environ
            | console_environment(site.stack, token_path=token)
            | {"AWS_SESSION_TOKEN": _SESSION, "NO_COLOR": "1", VARIABLE: str(self._calls)}
        )

    def command(self, *arguments: str) -> list[str]:
        self.ran.add(arguments[0])
        return [sys.executable, "-m", "tests.recorded_calls", *arguments]

    def run(self, *arguments: str, codes: tuple[int, ...] = (0,)) -> str:
        self.ran.add(arguments[0])
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.write(json.dumps(arguments) + "\n")
        self._process.stdin.flush()
        done = json.loads(self._process.stdout.readline())
        assert done["code"] in codes, done
        return str(done["out"])

    def told(self, *arguments: str, codes: tuple[int, ...] = (0,)) -> Any:
        return json.loads(self.run(*arguments, "--json", codes=codes))

    @property
    def used(self) -> set[Grant]:
        """Every action with its resource, as policies name them."""
        names = Names(self.site.stack.aws.physical, key="DataKey")
        asked = {
            pair
            for of_service, operation, given in calls_of(self._calls)
            if of_service != "Medical Imaging"
            for pair in names.actions(of_service, operation, given)
        } | {
            (f"medical-imaging:{AUTHORIZED_AS.get(operation, operation)}", DATASTORE)
            for operation in self._of_data_store
        }
        return {Grant(holder=HOLDER, action=action, resource=arn) for action, arn in asked}

    @contextlib.contextmanager
    def noted(self) -> Iterator[None]:
        """While it is entered, what they ask of the data store is noted."""

        def matched(request: Request) -> Match:
            found = match(request)
            # a HEAD opens a connection and is no operation of HealthImaging's
            is_theirs = request.headers.get("x-amz-security-token") == _SESSION
            if is_theirs and request.method != "HEAD":
                self._of_data_store.add(found.operation)
            return found

        with patch.object(service, "match", matched), self._commands() as self._process:
            yield

    @contextlib.contextmanager
    def _commands(self) -> Iterator["subprocess.Popen[str]"]:
        """A process that runs them one after another: to start one for each takes minutes."""
        command = [sys.executable, "-m", "tests.recorded_calls"]
        with (self.site.stack.folder / "commands.log").open("w") as log:
            process = subprocess.Popen(
                command, env=self.environment, cwd=ROOT, text=True,
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log,
            )  # fmt: skip
            try:
                yield process
            finally:
                process.communicate(timeout=30)  # its end of input
