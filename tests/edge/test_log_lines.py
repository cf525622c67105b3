"""A line of a node's log says what it is about, and never an error's text."""

import json
import logging
import threading

import pytest

from teleprefetch.edge.watching.logs import JsonLines, about


@pytest.fixture
def lines():
    """The lines that a logger wrote."""

    class Kept(logging.Handler):
        def emit(self, record):
            written.append(json.loads(self.format(record)))

    written: list[dict] = []
    handler, logger = Kept(), logging.getLogger("teleprefetch.edge.test")
    handler.setFormatter(JsonLines())
    logger.addHandler(handler)
    yield logger, written
    logger.removeHandler(handler)


def test_a_line_says_its_order_and_event_as_long_as_it_is_about_them(lines):
    logger, written = lines
    with about(order="p1", event_id="6a7e8feb"):
        logger.warning("a frame failed")
        with about(order="p2", event_id=None):
            logger.warning("another")
        logger.warning("again")
    logger.warning("of none")
    assert [(one.get("order"), one.get("event_id")) for one in written] == [
        ("p1", "6a7e8feb"),
        ("p2", None),
        ("p1", "6a7e8feb"),
        (None, None),
    ]
    assert "event_id" not in written[1]


def test_threads_are_about_their_own(lines):
    logger, written = lines
    with about(order="p1"):
        thread = threading.Thread(target=logger.warning, args=("elsewhere",))
        thread.start()
        thread.join()
    assert "order" not in written[0]


def test_what_it_is_about_ends_with_an_error_too(lines):
    logger, written = lines
    with pytest.raises(ZeroDivisionError), about(order="p1"):
        raise ZeroDivisionError
    logger.warning("after")
    assert "order" not in written[0]


def test_of_an_error_its_class_and_place_are_said_and_never_its_text(lines):
    logger, written = lines
    try:
        raise ValueError("Doe^Jane")
    except ValueError:
        logger.exception("broke")
    assert written[0]["error"] == "ValueError"
    assert "Doe" not in json.dumps(written)
