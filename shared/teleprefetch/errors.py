"""The errors the pipeline can end with.

    PrefetchError                  never raised itself
    ├─ InvalidPayloadError         an event, state or setting breaks its contract
    ├─ StudyNotFoundError          the archive does not hold it
    ├─ AccessDeniedError           401/403, IAM
    ├─ OriginThrottledError        429, Throttling*
    ├─ OriginUnavailableError      5xx, time-out, reset, "not ready yet"
    ├─ CorruptPayloadError         length, digest or multipart mismatch
    ├─ NodeUnavailableError        a node is unreachable or its disk is full
    └─ DeadlineExceededError       no time left

Step Functions sees only the class name and knows no inheritance: the names of the leaves are
the contract with `Retry` and `Catch` in `statemachine/`. Messages name the field that is wrong,
never its content, because they are stored in execution histories and logs.
"""


class PrefetchError(Exception):
    """The root of the tree; raise a leaf."""


class InvalidPayloadError(PrefetchError):
    """An event, a state or a setting breaks its contract; never retried."""


class StudyNotFoundError(PrefetchError):
    """The archive does not hold the study, series or frame (404); never retried."""


class AccessDeniedError(PrefetchError):
    """The archive or AWS refused the caller (401, 403, IAM); never retried."""


class OriginThrottledError(PrefetchError):
    """The archive asks to slow down (429, Throttling*); retried with full jitter."""


class OriginUnavailableError(PrefetchError):
    """The archive does not answer, or not yet (5xx, time-out, reset, 409); retried."""


class CorruptPayloadError(PrefetchError):
    """What arrived is not what was sent: length, digest, multipart or JSON; fetched once more."""


class NodeUnavailableError(PrefetchError):
    """A node cannot be reached or cannot write; retried shortly, then reported as lost."""


class DeadlineExceededError(PrefetchError):
    """There is no time left to do what was asked."""


LEAVES: frozenset[str] = frozenset(leaf.__name__ for leaf in PrefetchError.__subclasses__())
"""The names that `Retry`, `Catch` and records know."""
