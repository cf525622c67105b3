"""A node that cannot start says why in one line, and its exit code tells whose fault it is."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any


def start(**settings: str) -> tuple[int, list[dict[str, Any]]]:
    """The exit code of a node with these settings, and its log."""
    done = subprocess.run(
        [sys.executable, "-m", "teleprefetch.edge"],
        env={"PATH": os.environ["PATH"], "AWS_DEFAULT_REGION": "us-east-1"} | settings,
        capture_output=True,
        text=True,
        timeout=60,
    )
    return done.returncode, [json.loads(line) for line in done.stderr.splitlines()]


def test_missing_settings_are_all_named_in_one_line() -> None:
    code, log = start()

    assert code == 2
    [line] = log
    assert line["level"] == "CRITICAL"
    for name in ("node", "queue_url", "origins", "table_name", "store_path"):
        assert f"settings.{name}: Field required" in line["message"]


def test_a_store_that_cannot_be_opened_is_no_fault_of_the_settings(tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    code, log = start(
        NODE="n1",
        QUEUE_URL="http://127.0.0.1:1/queue",
        ORIGINS=json.dumps({"archive": {"kind": "dicomweb", "url": "http://127.0.0.1:1"}}),
        TABLE_NAME="table",
        STORE_PATH=str(tmp_path / "file" / "store"),
        STORE_BYTES="1000000",
    )

    assert code == 1
    assert log[-1]["message"].startswith("the node did not start: NodeUnavailableError")
