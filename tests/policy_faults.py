"""Where what is allowed is not what is used: neither more nor less, and nothing twice."""

from collections.abc import Collection, Iterable, Iterator
from fnmatch import fnmatchcase

from tests.template_policies import Grant


def faults(grants: Iterable[Grant], used: Collection[Grant]) -> Iterator[str]:
    """What is allowed and not used, used and not allowed, or allowed twice.

    Args:
        grants: of policies; each names a holder of `used`.
        used: what was done, with what it was done to in full.
    """
    allowed = sorted(grants)
    covered: dict[Grant, list[Grant]] = {
        use: [grant for grant in allowed if _covers(grant, use)] for use in used
    }
    for use, by in sorted(covered.items()):
        if not by:
            yield f"{use.holder}: lacks {_told(use)}"
    alone = {by[0] for by in covered.values() if len(by) == 1}
    for grant in allowed:
        if not any(grant in by for by in covered.values()):
            yield f"{grant.holder}: nothing does {_told(grant)}"
        elif grant not in alone or allowed.count(grant) > 1:
            yield f"{grant.holder}: is allowed twice {_told(grant)}"


def _covers(grant: Grant, use: Grant) -> bool:
    return (
        (grant.holder, grant.principal, grant.action) == (use.holder, use.principal, use.action)
        and fnmatchcase(use.resource, grant.resource)
        and fnmatchcase(use.source, grant.source)
    )


def _told(one: Grant) -> str:
    who = f" by {one.principal}" if one.principal else ""
    return f"{one.action} on {one.resource}{who}"
