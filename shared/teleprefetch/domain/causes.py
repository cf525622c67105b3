"""What may be told of a failure: the name of our error and the field it names."""

import json
from collections.abc import Mapping

from teleprefetch.errors import LEAVES


def cause_of(error: object) -> str:
    """An error as Step Functions caught it, in one line.

    Our own messages name only fields, so they are told. The cause of a foreign error may hold
    anything, and is left out. A function's cause is JSON text with `errorMessage`; a node's is
    the plain message.

    Args:
        error: an object with `Error` and `Cause`, or anything else, which tells nothing.
    """
    if not isinstance(error, Mapping):
        return ""
    name, cause = str(error.get("Error") or ""), str(error.get("Cause") or "")
    if name not in LEAVES or not cause:
        return name
    try:
        return f"{name}: {json.loads(cause)['errorMessage']}"
    except (ValueError, KeyError, TypeError):
        return f"{name}: {cause}"
