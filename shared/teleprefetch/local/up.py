"""Runs the stack until it is interrupted, and says where everything is."""

import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from teleprefetch.errors import InvalidPayloadError
from teleprefetch.local.reading import give, studies_to_read, viewer_link
from teleprefetch.local.stack import LocalStack, StackOptions

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class UpOptions:
    """What to run beside the bare stack: a built viewer's folder, and studies to assign."""

    viewer: Path | None = None
    samples: bool = False
    dicom: Path | None = None
    study_instance_uid: str | None = None


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
    with LocalStack(StackOptions(node_variables=variables)) as stack:
        say("The stack is up; Ctrl-C ends it.\n")
        for name, value in stack.addresses.items():
            say(f"{name:<24}{value}")
        say(f"{'status':<24}{stack.node.url}/status")
        say("\nFor another terminal:\n")
        for name, value in stack.environment.items():
            say(f"export {name}={value}")
        if options.samples or options.dicom is not None:
            _give_work(options, stack, say)
        while True:
            time.sleep(3600)


def _give_work(options: UpOptions, stack: LocalStack, say: Say) -> None:
    with tempfile.TemporaryDirectory(prefix="teleprefetch-") as folder:
        studies = studies_to_read(
            Path(folder) / "samples",
            dicom=options.dicom,
            study_instance_uid=options.study_instance_uid,
            today=datetime.now(UTC).date(),
        )
        say("\nImporting and assigning a study ...")
        notice = give(studies)
    say(f"The notice is out: {notice.reason} ({notice.why})")
    if options.viewer is not None:
        say(f"\nOpen\n{viewer_link(stack.node.url, notice)}")
