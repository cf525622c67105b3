"""Logs as JSON lines on standard error, each with what its thread works on."""

import json
import logging
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import Final

_LOG: Final = logging.getLogger("teleprefetch.edge")
_ABOUT: Final[ContextVar[tuple[tuple[str, str], ...]]] = ContextVar("about", default=())


@contextmanager
def about(**names: str | None) -> Iterator[None]:
    """Have this thread's lines say what they are about: an order, its event; nothing of a patient.

    What is None or empty is left out.
    """
    known = tuple((name, value) for name, value in names.items() if value)
    before = _ABOUT.set(known)
    try:
        yield
    finally:
        _ABOUT.reset(before)


class JsonLines(logging.Formatter):
    """One JSON object a line; of an error its class and place, never its text."""

    def format(self, record: logging.LogRecord) -> str:
        """The line of a record."""
        line = {
            "at": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "from": record.name,
            "message": record.getMessage(),
            **dict(_ABOUT.get()),
        }
        if record.exc_info and record.exc_info[0] is not None:
            line["error"] = record.exc_info[0].__name__
            line["place"] = _place(record)
        return json.dumps(line, ensure_ascii=False)


def _place(record: logging.LogRecord) -> str:
    trace = record.exc_info[2] if record.exc_info else None
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    if trace is None:
        return ""
    return f"{trace.tb_frame.f_globals.get('__name__', '')}:{trace.tb_lineno}"


def log_to_stderr() -> None:
    """Send all logs, and what ends a thread, to standard error."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.WARNING)
    logging.getLogger("teleprefetch").setLevel(logging.INFO)
    threading.excepthook = _log_thread_end
    sys.unraisablehook = _log_unraisable


def _log_thread_end(args: threading.ExceptHookArgs) -> None:
    name = args.thread.name if args.thread is not None else "a thread"
    information = (args.exc_type, args.exc_value or args.exc_type(), args.exc_traceback)
    _LOG.critical("%s ended by an error", name, exc_info=information)


def _log_unraisable(args: "sys.UnraisableHookArgs") -> None:
    # A codec that fails half way does this; the checksum of the pixels then refuses the frame.
    _LOG.warning("an error could not be raised: %s", args.exc_type.__name__)
