"""The audit's words for a request: who asked for what, what was decided, and what was sent."""

from dataclasses import dataclass

from teleprefetch.domain.audit.record import AuditRecord, Source, token_reference
from teleprefetch.domain.policy.access import Action
from teleprefetch.edge.policy.gatekeeper import Asked, Grant, Verdict


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What is about to be sent; fields as in `AuditRecord`."""

    status: int
    request: str = ""
    series: str = ""
    instance: str = ""
    frames: str = ""
    image_set: str = ""
    version: str = ""
    content: str = ""
    source: Source = ""
    size_bytes: int = 0


def record_of(asked: Asked, verdict: Verdict, answer: Answer) -> AuditRecord:
    """The record of an answer; for a refusal as well, whose `answer` is the refusal's."""
    principal = asked.principal
    granted = verdict if isinstance(verdict, Grant) else None
    is_emergency = granted is not None and granted.is_break_glass
    return AuditRecord(
        kind="refused" if granted is None else "break-glass" if is_emergency else "served",
        issuer=principal.issuer,
        subject=principal.subject,
        site=principal.site or "",
        token=token_reference(token_id=principal.token_id, token_sha256=principal.token_sha256),
        client=asked.client,
        action=asked.action,
        study=asked.study or "",
        policies=verdict.policies,
        policy_set=verdict.policy_set,
        reason=asked.break_glass if is_emergency else getattr(verdict, "reason", ""),
        assignment=granted.assignment if granted is not None else "",
        order=granted.order if granted is not None else "",
        origin=granted.origin_id if granted is not None else "",
        patient=granted.patient if granted is not None else "",
        status=answer.status,
        request=answer.request,
        series=answer.series,
        instance=answer.instance,
        frames=answer.frames,
        image_set=answer.image_set,
        version=answer.version,
        content=answer.content,
        source=answer.source,
        size_bytes=answer.size_bytes,
    )


def record_of_refused_token(
    *,
    reason: str,
    client: str,
    action: Action | None,
    study: str,
    request: str,
    token_sha256: str,
    status: int = 401,
) -> AuditRecord:
    """The record of a request whose token was not accepted, or that had none.

    `token_sha256` is empty if there was none; nobody knows who it was.
    """
    token = f"sha256:{token_sha256}" if token_sha256 else ""
    return AuditRecord(
        kind="refused",
        reason=reason,
        client=client,
        action=action or "",
        study=study,
        request=request,
        token=token,
        status=status,
    )
