"""Operators' commands that act: replay, warm, purge, drain."""

import time
from dataclasses import asdict
from typing import Annotated, Any, get_args

import typer

from teleprefetch.dicom import is_uid
from teleprefetch.domain.times import time_of
from teleprefetch.errors import InvalidPayloadError
from teleprefetch.model import Priority
from teleprefetch.operate import acts
from teleprefetch.operate.acts import Actor
from teleprefetch.operate.commands import AsJson, Since, StackName, now, open_site
from teleprefetch.operate.present import PROBLEM, answered, print_json, print_table, print_told, say
from teleprefetch.operate.replay import Replayed
from teleprefetch.operate.replay import replay as replayed
from teleprefetch.operate.replay_rules import Mode
from teleprefetch.operate.replay_subjects import Order
from teleprefetch.operate.site import Site, caller
from teleprefetch.run_records import ExecutionStatus, RunOutcome

Reason = Annotated[str, typer.Option(help="Why; it is recorded with who.")]
By = Annotated[
    str | None, typer.Option("--as", help="Who; else the AWS identity of the credentials.")
]
Study = Annotated[str, typer.Argument(help="StudyInstanceUID.")]
Origin = Annotated[
    str | None, typer.Option(help="The archive's id in ORIGINS; needed if there are several.")
]


def replay(
    what: Annotated[
        list[str] | None,
        typer.Argument(
            help="Studies, runs, assignments or executions; else all that ended as --status says."
        ),
    ] = None,
    stack: StackName = None,
    since: Since = "24h",
    status: Annotated[
        str, typer.Option(help="Of executions, comma-separated; RUNNING and SUCCEEDED too.")
    ] = "FAILED,TIMED_OUT,ABORTED",
    outcome: Annotated[
        str, typer.Option(help="Also prefetches that ended so, comma-separated: cold,partial.")
    ] = "",
    mode: Annotated[
        Mode,
        typer.Option(
            help="redrive: go on where it failed (14 days); new: from the start; auto: the first"
            " that can be."
        ),
    ] = "auto",
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Tell what would be done, and do nothing.")
    ] = False,
    max_rate: Annotated[
        float, typer.Option(min=0.1, max=100, help="The most replays in a second.")
    ] = 5,
    reason: Reason = "",
    by: By = None,
    as_json: AsJson = False,
) -> None:
    """Replay imports and prefetches; what is right already is left, and no notice goes out twice.

    A replay of an assignment's prefetch warms its study again; its notice stays as it is, and what
    it lacked is told by `Study Warm`. Exit code 0: replayed, or nothing was to do. 1: one was
    refused, each with the reason, or AWS does not answer. 2: an option is not what it should be.
    """

    def act() -> int:
        if not reason and not dry_run:
            raise InvalidPayloadError("--reason: missing; say why, it is recorded")
        site = open_site(stack)
        order = Order(
            named=tuple(what or ()),
            since=time_of(since, now=now(), option="--since"),
            statuses=_choices(status, get_args(ExecutionStatus), "--status"),
            outcomes=_choices(outcome, get_args(RunOutcome), "--outcome"),
            mode=mode,
            by=by or caller(),
            reason=reason,
            is_dry=dry_run,
            rate_per_s=max_rate,
        )
        done = []
        for one in replayed(site, order, now=now, sleep=time.sleep):
            done.append(one)
            if not as_json:
                say(f"{one.action}: {one.subject} ({one.why})")
        _tell(done, as_json=as_json, is_dry=dry_run)
        return PROBLEM if any(one.action == "refuse" for one in done) else 0

    answered(act)


def _tell(done: list[Replayed], *, as_json: bool, is_dry: bool) -> None:
    if as_json:
        print_json({"dry_run": is_dry, "replays": [asdict(one) for one in done]})
        return
    print_table(
        "Would be done" if is_dry else "Done",
        ("action", "run", "was", "now runs", "why"),
        ((one.action, one.subject, one.status, one.execution, one.why) for one in done),
        empty="nothing ended so in that time",
    )


def warm(
    study: Study,
    location: Annotated[str, typer.Option(help="The reading location to warm.")],
    stack: StackName = None,
    origin: Origin = None,
    priority: Annotated[Priority, typer.Option(help="How urgent.")] = "high",
    wait: Annotated[float, typer.Option(min=0, help="Wait so many seconds for the outcome.")] = 0,
    reason: Reason = "",
    by: By = None,
    as_json: AsJson = False,
) -> None:
    """Warm a study and its priors beside a reading location, now; what is held is kept.

    Exit code 0: begun, or with --wait, warm. 1: with --wait, not warm, or AWS does not answer.
    2: an option is not what it should be.
    """

    def act() -> int:
        site = open_site(stack)
        prefetch_id = acts.warm(
            site,
            actor_of(reason, by),
            origin_id=_origin(site, origin),
            study_instance_uid=_uid(study),
            reading_location=location,
            priority=priority,
            now=now(),
        )
        outcome = None
        if wait:
            outcome = acts.wait_for(
                site, prefetch_id, within_s=wait, say=say, now=now, sleep=time.sleep
            )
        told = {"prefetch_id": prefetch_id, "outcome": outcome}
        print_told(told, f"{prefetch_id}: {outcome or 'begun'}", as_json=as_json)
        return 0 if outcome in {None, "warm", "none relevant"} else PROBLEM

    answered(act)


def purge(
    study: Annotated[str | None, typer.Argument(help="StudyInstanceUID.")] = None,
    image_set: Annotated[
        list[str] | None, typer.Option(help="Instead: an image set's id; repeatable.")
    ] = None,
    node: Annotated[list[str] | None, typer.Option(help="Only this node; repeatable.")] = None,
    stack: StackName = None,
    origin: Origin = None,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    reason: Reason = "",
    by: By = None,
    as_json: AsJson = False,
) -> None:
    """Make nodes forget image sets for good: they do not store them again for 30 days.

    For what must not be there, such as a study of the wrong patient. To have something fetched
    again, use warm or replay. Exit code 0: ordered. 1: the archive or AWS does not answer, or you
    said no. 2: an option is not what it should be.
    """

    def act() -> int:
        site = open_site(stack)
        if (study is None) == (not image_set):
            raise InvalidPayloadError("STUDY, --image-set: one of them")
        origin_id = _origin(site, origin)
        ids = tuple(image_set or ())
        if study is not None:
            ids = acts.image_sets_of(site, _uid(study), origin_id)
        actor = actor_of(reason, by)
        if not yes and not typer.confirm(f"Forget {len(ids)} image sets for good?", err=True):
            return PROBLEM
        orders = acts.purge(
            site, actor, origin_id=origin_id, image_set_ids=ids, nodes=tuple(node or ()),
            study_instance_uid=study, now=now(),
        )  # fmt: skip
        told = {"image_sets": len(ids), "orders": orders}
        print_told(told, f"{orders} purge orders sent, {len(ids)} image sets", as_json=as_json)
        return 0

    answered(act)


def drain(
    node: Annotated[str, typer.Argument(help="The node's name in ROUTING.")],
    undo: Annotated[bool, typer.Option("--undo", help="Send it orders again.")] = False,
    wait: Annotated[
        float, typer.Option(min=0, help="Wait so many seconds until its queue is empty.")
    ] = 0,
    stack: StackName = None,
    reason: Reason = "",
    by: By = None,
    as_json: AsJson = False,
) -> None:
    """Send a node no more orders, while its location has another; what it holds is still served.

    Exit code 0: done. 1: with --wait, its queue is not empty yet, or AWS does not answer. 2: an
    option is not what it should be.
    """

    def act() -> int:
        site = open_site(stack)
        actor = actor_of(reason, by)
        if undo:
            acts.undrain(site, actor, node, now=now())
            print_told(
                {"node": node, "drained": False}, f"{node}: gets orders again", as_json=as_json
            )
            return 0
        acts.drain(site, actor, node, now=now())
        alone = acts.alone_without(site, node)
        for location in alone:
            say(f"{location} has no other node: its orders go to {node} all the same")
        if wait:
            acts.wait_until_empty(site, node, within_s=wait, say=say, now=now, sleep=time.sleep)
        told = {"node": node, "drained": True, "locations_without_another": alone}
        print_told(told, f"{node}: gets no more orders", as_json=as_json)
        return 0

    answered(act)


def actor_of(reason: str, by: str | None) -> Actor:
    """Who acts and why, by the options.

    Raises:
        InvalidPayloadError: no reason is given.
    """
    if not reason:
        raise InvalidPayloadError("--reason: missing; say why, it is recorded")
    return Actor(by=by or caller(), reason=reason)


def _uid(study: str) -> str:
    if not is_uid(study):
        raise InvalidPayloadError("STUDY: not a DICOM UID")
    return study


def _origin(site: Site, origin: str | None) -> str:
    if origin is not None:
        return origin
    known = tuple(site.settings.origins)
    if len(known) > 1:
        raise InvalidPayloadError("--origin: missing, and ORIGINS names several")
    return known[0]


def _choices(text: str, allowed: tuple[str, ...], option: str) -> tuple[Any, ...]:
    chosen = tuple(part.strip() for part in text.split(",") if part.strip())
    if not set(chosen) <= set(allowed):
        raise InvalidPayloadError(f"{option}: one or more of {', '.join(allowed)}")
    return chosen
