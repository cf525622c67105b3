"""How each process of a node begins: its log, its files, its settings, and what ends it."""

import os
import signal
import threading
from typing import Any

from teleprefetch.edge.serving import raise_file_limit
from teleprefetch.edge.watching.logs import log_to_stderr
from teleprefetch.settings import NodeSettings, from_environment


def begin() -> tuple[NodeSettings, threading.Event]:
    """The settings, and what is set once SIGTERM or SIGINT asks the process to end.

    Raises:
        InvalidPayloadError: a setting is missing or breaks its contract.
    """
    log_to_stderr()
    raise_file_limit()
    settings = from_environment(NodeSettings, os.environ)
    ended = threading.Event()

    def end(*_signal: Any) -> None:
        ended.set()

    signal.signal(signal.SIGTERM, end)
    signal.signal(signal.SIGINT, end)
    return settings, ended
