"""How kinds of records are called by DICOM PS3.15 A.5 (CID 400 to 403) and by FHIR R4."""

from typing import Final, NamedTuple

from teleprefetch.domain.audit.record import AuditRecord


class Code(NamedTuple):
    """A code of DCM, the DICOM controlled terminology (PS3.16 annex D)."""

    value: str
    meaning: str


APPLICATION_ACTIVITY: Final = Code("110100", "Application Activity")
AUDIT_LOG_USED: Final = Code("110101", "Audit Log Used")
INSTANCES_ACCESSED: Final = Code("110103", "DICOM Instances Accessed")
INSTANCES_TRANSFERRED: Final = Code("110104", "DICOM Instances Transferred")
STUDY_DELETED: Final = Code("110105", "DICOM Study Deleted")
QUERY: Final = Code("110112", "Query")
SECURITY_ALERT: Final = Code("110113", "Security Alert")

APPLICATION_START: Final = Code("110120", "Application Start")
APPLICATION_STOP: Final = Code("110121", "Application Stop")
EMERGENCY_OVERRIDE: Final = Code("110127", "Emergency Override Started")
SECURITY_CONFIGURATION: Final = Code("110129", "Security Configuration")
RESTRICTED_FUNCTION: Final = Code("110132", "Use of Restricted Function")
RECORDING_STOPPED: Final = Code("110133", "Audit Recording Stopped")
RECORDING_STARTED: Final = Code("110134", "Audit Recording Started")

SOURCE: Final = Code("110153", "Source Role ID")
DESTINATION: Final = Code("110152", "Destination Role ID")
APPLICATION: Final = Code("110150", "Application")
LAUNCHER: Final = Code("110151", "Application Launcher")

STUDY_INSTANCE_UID: Final = Code("110180", "Study Instance UID")
SOP_CLASS_UID: Final = Code("110181", "SOP Class UID")
NODE_ID: Final = Code("110182", "Node ID")


class Named(NamedTuple):
    """What an event is called: the code, its type or None, and C, R, U, D or E (execute)."""

    event: Code
    type: Code | None
    action: str


_EVENTS: Final[dict[str, Named]] = {
    "served": Named(INSTANCES_TRANSFERRED, None, "R"),
    "break-glass": Named(INSTANCES_TRANSFERRED, EMERGENCY_OVERRIDE, "R"),
    "refused": Named(SECURITY_ALERT, RESTRICTED_FUNCTION, "E"),
    "warmed": Named(INSTANCES_ACCESSED, None, "R"),
    "purged": Named(STUDY_DELETED, None, "D"),
    "replayed": Named(SECURITY_ALERT, RESTRICTED_FUNCTION, "E"),
    "policy-changed": Named(SECURITY_ALERT, SECURITY_CONFIGURATION, "E"),
    "policy-refused": Named(SECURITY_ALERT, SECURITY_CONFIGURATION, "E"),
    "audit-read": Named(AUDIT_LOG_USED, None, "R"),
    "started": Named(APPLICATION_ACTIVITY, APPLICATION_START, "E"),
    "stopped": Named(APPLICATION_ACTIVITY, APPLICATION_STOP, "E"),
    "recovered": Named(SECURITY_ALERT, RECORDING_STARTED, "E"),
    "audit-full": Named(SECURITY_ALERT, RECORDING_STOPPED, "E"),
    "gap": Named(SECURITY_ALERT, RECORDING_STARTED, "E"),
}

SUCCESS, MINOR_FAILURE, SERIOUS_FAILURE = "0", "4", "8"
_FAILED: Final = {
    "refused": MINOR_FAILURE,
    "policy-refused": SERIOUS_FAILURE,
    "audit-full": SERIOUS_FAILURE,
    "gap": SERIOUS_FAILURE,
    "recovered": MINOR_FAILURE,
}


def named(record: AuditRecord) -> Named:
    """What a record is called; an answered search, or one about no study, is a query."""
    name = _EVENTS[record.kind]
    if name.event == INSTANCES_TRANSFERRED and is_query(record):
        return Named(QUERY, name.type, "E")
    return name


def is_query(record: AuditRecord) -> bool:
    """True if what was asked for is a list and not a study."""
    return record.action == "search" or not record.study


def outcome(record: AuditRecord) -> str:
    """EventOutcomeIndicator (PS3.15 A.5.2): 0 success, 4 minor failure, 8 serious failure."""
    return _FAILED.get(record.kind, SUCCESS)
