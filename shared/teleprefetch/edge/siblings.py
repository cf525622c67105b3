"""The other processes of a node: they answer from the same store, on the same port.

A sibling lives as long as its input is open, so that none outlives a node that was killed. One
that ends by itself is started again.
"""

import logging
import os
import subprocess
import sys
import threading
from typing import Final

from teleprefetch.edge.watching.board import Board
from teleprefetch.settings import NodeSettings

_LOG: Final = logging.getLogger(__name__)
_LOOK_S: Final = 1.0
_STOP_S: Final = 10.0


class Siblings:
    """Processes that only serve.

    Args:
        settings: the node's.
        port: the port that all listen on.
        board: the counters, with a slot for each process; this process has slot 0.
    """

    def __init__(self, settings: NodeSettings, *, port: int, board: Board) -> None:
        self._environment = os.environ | environment_of(settings) | {"PORT": str(port)}
        self._board = board
        self._processes: dict[int, subprocess.Popen[bytes]] = {}
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="siblings")

    def start(self) -> None:
        """Start them; they answer a little later."""
        for slot in range(1, self._board.slots):
            self._processes[slot] = self._open(slot)
        self._thread.start()

    def close(self) -> None:
        """End them, each after the answers that it gives now."""
        self._ended.set()
        if self._thread.ident is not None:
            self._thread.join()
        for process in self._processes.values():
            _end_input(process)
        for process in self._processes.values():
            try:
                process.wait(_STOP_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def _watch(self) -> None:
        while not self._ended.wait(_LOOK_S):
            for slot, process in self._processes.items():
                if process.poll() is not None:
                    _LOG.error(
                        "a serving process ended with %d; another is started", process.poll()
                    )
                    _end_input(process)
                    self._processes[slot] = self._open(slot)

    def _open(self, slot: int) -> "subprocess.Popen[bytes]":
        descriptor = self._board.descriptor
        numbers = (str(slot), str(self._board.slots), str(descriptor))
        return subprocess.Popen(  # noqa: S603  # this interpreter, this package
            [sys.executable, "-m", "teleprefetch.edge.sibling", *numbers],
            env=self._environment,
            stdin=subprocess.PIPE,
            pass_fds=[descriptor],
        )


def environment_of(settings: NodeSettings) -> dict[str, str]:
    """The variables that these settings are read from."""
    values = settings.model_dump(mode="json", round_trip=True)
    return {
        name.upper(): "" if value is None else str(value)  # empty is as if it were not set
        for name, value in values.items()
    }


def _end_input(process: "subprocess.Popen[bytes]") -> None:
    if process.stdin is not None:
        process.stdin.close()
