"""Operators' command `reconcile`: runs the sweeps at once, or tells what they would do."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Annotated

import typer

from teleprefetch.operate.acting_commands import By, Reason, actor_of
from teleprefetch.operate.commands import AsJson, StackName, now, open_site
from teleprefetch.operate.present import answered, print_json, print_table, print_told
from teleprefetch.operate.reconciling import Found, Reconciled, would_reconcile
from teleprefetch.operate.reconciling import reconcile as reconciled


def reconcile(
    stack: StackName = None,
    window_hours: Annotated[
        int | None, typer.Option(min=1, help="How far back; else SWEEP_WINDOW_HOURS.")
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Tell what would be done, and do nothing.")
    ] = False,
    reason: Reason = "reconcile",
    by: By = None,
    as_json: AsJson = False,
) -> None:
    """Run the sweeps now: imports whose event was lost, notices past their deadline.

    With --dry-run, each import job, image set and notice that they would start or release is told,
    and why; one whose execution was started already is left. Exit code 0: done, or told. 1: the
    archive or AWS does not answer. 2: an option is not what it should be.
    """

    def act() -> int:
        site = open_site(stack)
        hours = window_hours or site.settings.sweep_window_hours
        if dry_run:
            _tell(*would_reconcile(site, window_hours=hours, now=now()), as_json=as_json)
            return 0
        found = reconciled(site, actor_of(reason, by), window_hours=hours, now=now())
        line = (
            f"{found.imports_started} of {found.imports_ended} ended imports and"
            f" {found.image_sets_started} of {found.image_sets_changed} image sets had no outcome"
            f" and were started; {found.notices_published} of {found.notices_overdue} overdue"
            " notices were released"
        )
        told = {"dry_run": False, **found.model_dump(mode="json")}
        print_told(told, line, as_json=as_json)
        return 0

    answered(act)


def _tell(counts: Reconciled, found: Sequence[Found], *, as_json: bool) -> None:
    if as_json:
        told = {"dry_run": True, **counts.model_dump(mode="json")}
        print_json({**told, "found": [asdict(one) for one in found]})
        return
    print_table(
        "Would be done",
        ("action", "what", "which", "data store", "why"),
        ((one.action, one.kind, one.subject, one.datastore_id, one.why) for one in found),
        empty=f"nothing; {counts.imports_ended} ended imports and {counts.image_sets_changed} image"
        " sets have an outcome, and no notice is overdue",
    )
