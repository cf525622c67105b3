"""Runs the stack until it is interrupted, and says where everything is."""

import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from teleprefetch.errors import InvalidPayloadError
from teleprefetch.local.console_process import running_console
from teleprefetch.local.login.people import OPERATOR, PEOPLE, READER
from teleprefetch.local.login.provider import Provider
from teleprefetch.local.reading import give, studies_to_read, viewer_link
from teleprefetch.local.stack import LocalStack, StackOptions

Say = Callable[[str], None]
# No longer is a token believed (HealthImaging developer guide, "OIDC authentication").
_HEADER_S: Final = 12 * 3600


@dataclass(frozen=True, slots=True)
class UpOptions:
    """What to run beside the bare stack: a built viewer's folder, and studies to assign.

    `provider` logs readers in instead of the local issuer; `port` is the node's, 0 any.
    """

    viewer: Path | None = None
    samples: bool = False
    dicom: Path | None = None
    study_instance_uid: str | None = None
    provider: Provider | None = None
    port: int = 0


def run_up(options: UpOptions, *, say: Say) -> None:
    """Run the stack; returns by KeyboardInterrupt alone.

    Raises:
        InvalidPayloadError: an option, or a file, is not what it should be.
        OriginUnavailableError: the import failed, or no notice came.
    """
    variables: dict[str, str] = {}
    if options.viewer is not None:
        if not (options.viewer / "index.html").is_file():
            raise InvalidPayloadError("--viewer: no built viewer there; see `teleprefetch viewer`")
        variables["VIEWER_PATH"] = str(options.viewer.resolve())
    given = StackOptions(
        node_variables=variables, provider=options.provider, node_port=options.port
    )
    with LocalStack(given) as stack, ExitStack() as beside:
        _tell_addresses(stack, say, is_own_issuer=options.provider is None)
        if options.provider is None:
            token_path = stack.folder / f"{OPERATOR.subject}.header"
            url = beside.enter_context(running_console(stack, token_path=token_path))
            say(f"\nThe operators' console, for {OPERATOR.name}:\n{url}/")
        if options.samples or options.dicom is not None:
            _give_work(options, stack, say)
        while True:
            time.sleep(3600)


def _tell_addresses(stack: LocalStack, say: Say, *, is_own_issuer: bool) -> None:
    say("The stack is up; Ctrl-C ends it.\n")
    for name, value in stack.addresses.items():
        say(f"{name:<24}{value}")
    say(f"{'status':<24}{stack.node.url}/status")
    say("\nFor another terminal:\n")
    for name, value in stack.environment.items():
        say(f"export {name}={value}")
    for name, value in stack.operator_environment.items():
        say(f"export {name}='{value}'")
    if is_own_issuer:
        _tell_who_logs_in(stack, say)


def _tell_who_logs_in(stack: LocalStack, say: Say) -> None:
    """Name the people of the local issuer, and put a token for curl in a file of ours alone."""
    say("\nWho may log in:\n")
    for person in PEOPLE:
        path = stack.folder / f"{person.subject}.header"
        token = stack.token_for(person, lifetime_s=_HEADER_S)
        path.touch(mode=0o600)
        path.write_text(f"Authorization: Bearer {token}\n")
        say(f"{person.name:<24}{', '.join(person.groups)}; curl -H @{path} ...")
    say(f"\n{READER.name} is assigned what is imported here; the status is for {OPERATOR.name}.")
    say("\nFor operators' commands (teleprefetch status, find, why, replay, doctor, ...):\n")
    say(f"export TELEPREFETCH_TOKEN_FILE={stack.folder / f'{OPERATOR.subject}.header'}")


def _give_work(options: UpOptions, stack: LocalStack, say: Say) -> None:
    with tempfile.TemporaryDirectory(prefix="teleprefetch-") as folder:
        studies = studies_to_read(
            Path(folder) / "samples",
            dicom=options.dicom,
            study_instance_uid=options.study_instance_uid,
            today=datetime.now(UTC).date(),
        )
        say("\nImporting and assigning a study ...")
        notice = give(studies, reader=stack.provider.reads)
    say(f"The notice is out: {notice.reason} ({notice.why})")
    if options.viewer is not None:
        say(f"\nOpen\n{viewer_link(stack.node.url, notice)}")
